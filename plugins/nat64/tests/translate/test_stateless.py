"""The same core without state, as a CLAT has it: addresses one to one, and back."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from nat64_kit import CLIENT, HOST, HOST6, ROUTER, ROUTER6, all_good, p, parse, right
from scapy.all import ICMP, IP, UDP, IPv6, IPv6ExtHdrFragment, Raw, raw  # type: ignore[attr-defined]
from vpnrs_nat64.translate.eam import Eamt
from vpnrs_nat64.translate.prefix import Prefix
from vpnrs_nat64.translate.problem import Problem
from vpnrs_nat64.translate.stateless import Side, Stateless, stateless

from vpnrs_core.packet.checksum import checksum
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.vnet import NEEDS_CSUM, PLAIN_VNET, VNET
from vpnrs_core.testkit import packets

LOCAL = "192.0.0.1"


def settings() -> Stateless:
    """A CLAT: one IPv4 host behind, everything else behind the prefix."""
    table = Eamt(Prefix(IPv6Network("64:ff9b::/96")))
    table.add(IPv4Network(f"{LOCAL}/32"), IPv6Network(f"{CLIENT}/128"))
    return Stateless(table.to_v4, table.to_v6, mtu6=1420, router4=p(LOCAL))


def test_a_clat_and_back() -> None:
    for make in (packets.tcp, packets.udp, packets.echo):
        data = make(LOCAL, HOST, b"data" * 20)
        (six,) = all_good(stateless(Side.V4, Packet.of(data), settings()))
        assert (right(six).src, right(six).dst) == (CLIENT, HOST6)
        (four,) = all_good(stateless(Side.V6, six, settings(), ident=1))
        assert right(four).ttl == 62
        assert four.data[20:] == data[20:]


def test_every_transport_passes() -> None:
    packet = Packet.of(packets.ip_packet(LOCAL, HOST, 132, bytes(range(40))))
    (six,) = all_good(stateless(Side.V4, packet, settings()))
    assert (six.protocol, six.data[40:]) == (132, bytes(range(40)))


def test_a_fragment_with_an_unfinished_checksum_is_a_sound_packet() -> None:
    data = packets.ip_packet(LOCAL, HOST, 17, bytes(range(16)))
    piece = bytearray(data)
    piece[6:8], piece[10:12] = b"\0\1", b"\0\0"
    piece[10:12] = checksum(bytes(piece)[:20]).to_bytes(2, "big")
    packet = Packet.of(bytes(piece), vnet=VNET.pack(NEEDS_CSUM, 0, 0, 0, 20, 6))
    (six,) = all_good(stateless(Side.V4, packet, settings()))
    assert six.vnet == PLAIN_VNET
    assert six.header.fragment_offset == 8


def test_errors_are_translated_with_their_embedded_addresses() -> None:
    wire = packets.udp(CLIENT, HOST6, b"query", sport=5, dport=6)
    from_router = raw(IPv6(src=ROUTER6, dst=CLIENT) / Raw(_unreachable(wire, ROUTER6, CLIENT)))
    packet = Packet.of(bytes(from_router[:6]) + b"\x3a" + from_router[7:])
    (four,) = all_good(stateless(Side.V6, packet, settings()))
    parsed = right(four)
    assert (parsed.src, parsed.dst, parsed[ICMP].type, parsed[ICMP].code) == (ROUTER, LOCAL, 3, 3)
    quoted = IP(raw(parsed.payload)[8:])
    assert (quoted.src, quoted.dst, quoted.sport, quoted.dport) == (LOCAL, HOST, 5, 6)
    back = raw(IP(src=LOCAL, dst=ROUTER) / ICMP(type=11) / Raw(packets.udp(HOST, LOCAL, b"x")))
    (six,) = all_good(stateless(Side.V4, Packet.of(back), settings()))
    assert (right(six).src, right(six).dst) == (CLIENT, ROUTER6)


def _unreachable(wire: bytes, source: str, destination: str) -> bytes:
    from scapy.all import ICMPv6DestUnreach  # type: ignore[attr-defined]

    return raw(IPv6(src=source, dst=destination) / ICMPv6DestUnreach(code=4) / Raw(wire))[40:]


def test_e6_router_without_a_mapping_is_ours() -> None:
    wire = packets.udp(CLIENT, HOST6, b"query", sport=5, dport=6)
    message = _unreachable(wire, "2001:db8::9", CLIENT)
    packet = Packet.of(packets.ip_packet("2001:db8::9", CLIENT, 58, message))
    (four,) = all_good(stateless(Side.V6, packet, settings()))
    assert parse(four).src == LOCAL


def test_addresses_that_have_no_mapping_or_must_not_be_translated() -> None:
    for side, data in (
        (Side.V6, packets.udp("2001:db8::9", CLIENT)),
        (Side.V4, packets.udp("127.0.0.1", HOST)),
        (Side.V4, packets.udp("240.0.0.1", HOST)),
    ):
        assert stateless(side, Packet.of(data), settings()) == Problem("address")
    assert stateless(Side.V6, Packet.of(packets.udp(LOCAL, HOST)), settings()) == Problem("protocol")


def test_fragments_pass_as_they_come() -> None:
    packet = Packet.of(raw(IP(src=LOCAL, dst=HOST, proto=17, frag=4, flags="MF", id=9) / Raw(bytes(16))))
    (six,) = all_good(stateless(Side.V4, packet, settings()))
    assert (parse(six)[IPv6ExtHdrFragment].offset, parse(six)[IPv6ExtHdrFragment].id) == (4, 9)
    (four,) = all_good(stateless(Side.V6, six, settings()))
    assert four.data[20:] == bytes(16)


def test_f4_first_fragment_of_udp_without_checksum_cannot_be_translated_alone() -> None:
    packet = Packet.of(raw(IP(src=LOCAL, dst=HOST, flags="MF") / UDP(chksum=0) / Raw(bytes(16))))
    assert stateless(Side.V4, packet, settings()) == Problem("udp_checksum")
