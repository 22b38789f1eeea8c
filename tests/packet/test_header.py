"""The header walk finds what is there and refuses what does not add up, without ever reading outside."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.all import (  # type: ignore[attr-defined]
    IP,
    TCP,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Raw,
    raw,
)

from vpnrs_core.packet.checks import well_formed
from vpnrs_core.packet.header import VNET_LENGTH, BadPacket, Header, examine
from vpnrs_core.packet.vnet import GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VNET, normalise, unpack
from vpnrs_core.testkit.packets import echo, ip_packet, super_tcp, super_udp, tcp, udp

FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")


def walk(packet: object) -> Header:
    return examine(bytes(VNET_LENGTH) + (packet if isinstance(packet, bytes) else raw(packet)))


@pytest.mark.parametrize(
    ("packet", "version", "protocol", "l4", "end"),
    [
        (tcp(*FOUR, b"data", options=bytes(12)), 4, 6, 20, 52),
        (udp(*FOUR, b"data", ip={"options": bytes(8)}), 4, 17, 28, 36),
        (udp(*SIX, b"data"), 6, 17, 40, 48),
        (echo(*FOUR), 4, 1, 20, 28),
        (echo(*SIX), 6, 58, 40, 48),
        (ip_packet(*FOUR, 47, b"gre!"), 4, 47, 20, 20),
        (ip_packet(*SIX, 59, b""), 6, 59, 40, 40),
        (ip_packet(*SIX, 50, bytes(40)), 6, 50, 40, 40),
    ],
)
def test_upper_layer_is_found(packet: bytes, version: int, protocol: int, l4: int, end: int) -> None:
    header = walk(packet)
    assert (header.version, header.protocol, header.l4_offset, header.header_length) == (version, protocol, l4, end)
    assert header.length == len(packet)
    assert not header.is_fragment


def test_addresses_are_packed() -> None:
    assert walk(udp(*FOUR)).source == bytes([10, 0, 0, 1])
    assert walk(udp(*SIX)).destination == bytes.fromhex("fd00") + bytes(13) + b"\2"


def test_extension_headers_are_walked() -> None:
    head = IPv6(src=SIX[0], dst=SIX[1]) / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(addresses=["fd00::9"])
    header = walk(head / IPv6ExtHdrDestOpt() / TCP() / b"data")
    assert (header.protocol, header.l4_offset, header.header_length) == (6, 40 + 8 + 24 + 8, 80 + 20)


def test_authentication_header_counts_in_words() -> None:
    authentication = bytes((17, 4)) + bytes(22)
    assert walk(ip_packet(*SIX, 51, authentication + udp(*SIX, b"x")[40:])).l4_offset == 64


def test_fragments_are_told_apart() -> None:
    base = IPv6(src=SIX[0], dst=SIX[1])
    first = walk(base / IPv6ExtHdrFragment(m=1, offset=0, nh=17) / Raw(udp(*SIX, bytes(8))[40:]))
    assert first.is_fragment
    assert (first.fragment_offset, first.header_length, first.fragment_header) == (0, 56, 40)
    later = walk(base / IPv6ExtHdrFragment(m=0, offset=3, nh=60) / Raw(b"anything"))
    assert (later.is_fragment, later.fragment_offset, later.protocol, later.header_length) == (True, 24, 60, 48)
    atomic = walk(base / IPv6ExtHdrFragment(m=0, offset=0, nh=17) / Raw(udp(*SIX, b"x")[40:]))
    assert not atomic.is_fragment
    assert atomic.fragment_header == 40
    tiny = walk(IP(src=FOUR[0], dst=FOUR[1], proto=6, flags="MF") / Raw(bytes(8)))
    assert tiny.is_fragment
    assert tiny.header_length == 20


IPV4_UDP = bytearray(udp(*FOUR, bytes(20)))
IPV6_UDP = bytearray(udp(*SIX, bytes(20)))


def changed(packet: bytearray | bytes, at: int, value: bytes) -> bytes:
    return bytes(packet[:at]) + value + bytes(packet[at + len(value) :])


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "truncated IP header"),
        (bytes(40), "neither IPv4 nor IPv6"),
        (changed(IPV4_UDP, 0, b"\x44"), "IPv4 header length below 20"),
        (changed(IPV4_UDP, 0, b"\x4f"), "truncated IPv4 options"),
        (changed(IPV4_UDP, 2, b"\0\x20"), "IPv4 total length disagrees"),
        (bytes(IPV4_UDP) + b"x", "IPv4 total length disagrees"),
        (changed(IPV4_UDP, 24, b"\0\x07"), "UDP length disagrees"),
        (changed(IPV4_UDP, 24, b"\0\x1d"), "UDP length disagrees"),
        (changed(IPV4_UDP, 6, b"\x20\x00"), "fragment length is no multiple of 8"),
        (changed(IPV4_UDP, 6, b"\x1f\xff"), "fragment ends beyond 65535 bytes"),
        (bytes(IPV6_UDP[:39]), "truncated IPv6 header"),
        (changed(IPV6_UDP, 4, b"\0\0"), "jumbogram"),
        (changed(IPV6_UDP, 4, b"\0\1"), "IPv6 payload length disagrees"),
        (ip_packet(*SIX, 0, bytes(4)), "truncated extension header"),
        (ip_packet(*SIX, 60, bytes((17, 9)) + bytes(30)), "truncated extension header"),
        (ip_packet(*SIX, 60, bytes(8) + bytes((17,)) + bytes(15)), "hop-by-hop header is not the first"),
        (
            ip_packet(*SIX, 60, bytes((60, 0)) + bytes(6) + (bytes((60, 0)) + bytes(6)) * 9),
            "extension header chain too long",
        ),
        (ip_packet(*SIX, 60, bytes((17, 200)) + bytes(201 * 8 - 2) + bytes(8)), "extension header chain too long"),
        (ip_packet(*SIX, 44, (bytes((44, 0)) + bytes(6)) * 2 + bytes(8)), "two fragment headers"),
        (ip_packet(*FOUR, 6, bytes(19)), "truncated TCP header"),
        (ip_packet(*FOUR, 6, bytes(12) + b"\x40" + bytes(7)), "TCP header length below 20"),
        (ip_packet(*FOUR, 6, bytes(12) + b"\x60" + bytes(7)), "truncated TCP options"),
        (ip_packet(*FOUR, 17, bytes(7)), "truncated UDP header"),
        (ip_packet(*SIX, 58, bytes(7)), "truncated ICMP header"),
    ],
)
def test_malformed_is_refused(packet: bytes, reason: str) -> None:
    with pytest.raises(BadPacket, match=reason):
        walk(packet)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.sampled_from([0x45, 0x46, 0x60]), st.sampled_from([0, 6, 17, 43, 44, 51, 58, 60, 1]))
def test_whatever_arrives_is_judged(noise: bytes, first: int, protocol: int) -> None:
    data = bytearray(bytes(40) + noise)
    data[0] = first
    if first == 0x60:
        data[4:6] = len(noise).to_bytes(2, "big")
        data[6] = protocol
    else:
        data[2:4] = len(data).to_bytes(2, "big")
        data[9] = protocol
    try:
        header = walk(bytes(data))
    except BadPacket:
        pass  # judged; any other exception fails
    else:
        assert 20 <= header.l4_offset <= header.header_length <= header.length == len(data)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_truncation_is_refused(data: st.DataObject) -> None:
    packet = data.draw(st.sampled_from([tcp(*FOUR, b"abc"), udp(*SIX, b"abc"), echo(*SIX)]))
    size = data.draw(st.integers(0, len(packet) - 1))
    with pytest.raises(BadPacket):
        walk(packet[:size])


def test_sound_super_packets_pass() -> None:
    for packet in (
        super_tcp(*FOUR, bytes(5000), 1000),
        super_tcp(*SIX, bytes(5000), 1000),
        super_udp(*SIX, bytes(5000), 99),
    ):
        assert well_formed(packet.frame) == examine(packet.frame)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"flags": 0}, "super-packet without partial checksum"),
        ({"gso_type": 3}, "unknown gso_type"),
        ({"gso_type": GSO_TCPV6}, "gso_type disagrees with the packet"),
        ({"gso_type": GSO_UDP_L4}, "gso_type disagrees with the packet"),
        ({"gso_size": 0}, "gso_size is 0"),
        ({"gso_size": 5000}, "super-packet of one segment"),
        ({"csum_start": 22}, "checksum position disagrees"),
        ({"csum_offset": 2}, "checksum position disagrees"),
        ({"csum_start": 10}, "checksum position outside the packet"),
        ({"csum_offset": 60000}, "checksum position outside the packet"),
    ],
)
def test_vnet_header_must_agree(change: dict[str, int], reason: str) -> None:
    frame = super_tcp(*FOUR, bytes(5000), 1000).frame
    vnet = unpack(frame)._replace(**change)
    with pytest.raises(BadPacket, match=reason):
        well_formed(vnet.pack() + frame[VNET_LENGTH:])


def test_udp_super_packets_are_bounded() -> None:
    assert well_formed(super_udp(*FOUR, bytes(128 * 10), 10).frame)
    with pytest.raises(BadPacket, match="too many UDP segments"):
        well_formed(super_udp(*FOUR, bytes(128 * 10 + 1), 10).frame)


def test_a_tunnels_inner_partial_checksum_passes() -> None:
    inner = tcp(*FOUR, b"inner")
    outer = udp(*FOUR, inner)
    vnet = VNET.pack(NEEDS_CSUM, 0, 0, 0, 28 + 20, 16)
    assert well_formed(vnet + outer).protocol == 17


def test_normalise_keeps_only_what_is_ours() -> None:
    packet = super_tcp(*FOUR, bytes(5000), 1000)
    noisy = unpack(packet.frame)._replace(flags=NEEDS_CSUM | 6, hdr_len=400).pack() + packet.data
    assert normalise(noisy, packet.header_length) == packet.frame
    lone = VNET.pack(2, 0, 54, 0, 0, 0) + udp(*FOUR)
    assert normalise(lone, 28) == bytes(VNET_LENGTH) + udp(*FOUR)
    assert unpack(packet.frame).gso_type == GSO_TCPV4
