"""ICMP errors as scapy reads them, and the packets that get none."""

import pytest
from scapy.all import (  # type: ignore[attr-defined]
    ICMP,
    IP,
    UDP,
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    raw,
)

from vpnrs_core.packet.fragment import fragment
from vpnrs_core.packet.icmp import Unreachable, packet_too_big, time_exceeded, unreachable
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit.packets import echo, ip_packet, super_tcp, tcp, udp

FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")
OUR4, OUR6 = bytes([10, 0, 0, 254]), bytes.fromhex("fd00") + bytes(13) + b"\xfe"


def read(packet: Packet | None) -> IP | IPv6:
    """scapy's view, after it has confirmed all checksums."""
    assert packet is not None
    data = packet.data
    assert packet.header.length == len(data)
    parsed = IP(data) if packet.version == 4 else IPv6(data)
    again = parsed.copy()
    if packet.version == 4:
        del again.chksum
        del again[ICMP].chksum
    else:
        del again.payload.cksum
    assert raw(again) == data
    return parsed


def test_fragmentation_needed() -> None:
    packet = Packet.of(udp(*FOUR, bytes(1400)))
    error = read(packet_too_big(packet, 1280, OUR4))
    assert (error.src, error.dst, error[ICMP].type, error[ICMP].code) == ("10.0.0.254", "10.0.0.1", 3, 4)
    assert error[ICMP].nexthopmtu == 1280
    assert error.len == 576
    assert raw(error)[28:] == packet.data[:548]


def test_packet_too_big() -> None:
    packet = Packet.of(udp(*SIX, bytes(1400)))
    error = read(packet_too_big(packet, 1280, OUR6))
    assert error[ICMPv6PacketTooBig].mtu == 1280
    assert len(raw(error)) == 1280
    assert raw(error)[48:] == packet.data[:1232]


@pytest.mark.parametrize(("why", "four", "six"), [(w, *w.value) for w in Unreachable] + [(5, 5, 5)])
def test_unreachable(why: Unreachable | int, four: int, six: int) -> None:
    assert read(unreachable(Packet.of(udp(*FOUR, b"x")), why, OUR4))[ICMP].code == four
    assert read(unreachable(Packet.of(udp(*SIX, b"x")), why, OUR6))[ICMPv6DestUnreach].code == six


def test_time_exceeded() -> None:
    assert read(time_exceeded(Packet.of(echo(*FOUR)), OUR4))[ICMP].type == 11
    assert read(time_exceeded(Packet.of(echo(*SIX)), OUR6))[ICMPv6TimeExceeded].code == 0


@pytest.mark.parametrize(("addresses", "ours"), [(FOUR, OUR4), (SIX, OUR6)])
def test_a_super_packets_first_segment_is_quoted(addresses: tuple[str, str], ours: bytes) -> None:
    packet = super_tcp(*addresses, bytes(range(200)) * 20, 300)
    error = packet_too_big(packet, 1280, ours)
    assert error is not None
    assert error.data[error.header_length :] == segment(packet)[0]


def test_the_session_is_the_packets() -> None:
    session: object = object()
    error = time_exceeded(Packet.of(udp(*FOUR), session), OUR4)  # type: ignore[arg-type]
    assert error is not None
    assert error.session is session


LATER = fragment(udp(*FOUR, bytes(2000), ip={"dont_fragment": False}), 1280)[1]


@pytest.mark.parametrize(
    "data",
    [
        raw(IP(src=FOUR[0], dst=FOUR[1]) / ICMP(type=3, code=1) / raw(IP() / UDP())),
        raw(IP(src=FOUR[0], dst=FOUR[1]) / ICMP(type=5)),
        LATER,
        udp("0.0.0.0", FOUR[1]),
        udp("127.0.0.1", FOUR[1]),
        udp("224.0.0.1", FOUR[1]),
        udp("255.255.255.255", FOUR[1]),
        udp(FOUR[0], "224.0.0.251"),
        udp(FOUR[0], "255.255.255.255"),
        udp(FOUR[0], "0.0.0.0"),
        raw(IPv6(src=SIX[0], dst=SIX[1]) / ICMPv6DestUnreach() / raw(IPv6() / UDP())),
        ip_packet(*SIX, 58, b"\x89" + bytes(39)),
        udp("::", SIX[1]),
        udp("::1", SIX[1]),
        udp("ff02::1", SIX[1]),
        udp(SIX[0], "ff02::fb"),
    ],
)
def test_no_error_for_these(data: bytes) -> None:
    packet = Packet.of(data)
    assert time_exceeded(packet, OUR4 if packet.version == 4 else OUR6) is None
    assert unreachable(packet, Unreachable.NO_ROUTE, OUR4 if packet.version == 4 else OUR6) is None


def test_only_packet_too_big_answers_multicast() -> None:
    assert packet_too_big(Packet.of(udp(SIX[0], "ff0e::1", bytes(1400))), 1280, OUR6) is not None
    assert packet_too_big(Packet.of(udp(FOUR[0], "224.0.0.9", bytes(1400))), 1280, OUR4) is None


def test_echo_and_first_fragments_get_errors() -> None:
    first = fragment(udp(*FOUR, bytes(2000), ip={"dont_fragment": False}), 1280)[0]
    for data in (echo(*FOUR), first, tcp(*FOUR)):
        assert time_exceeded(Packet.of(data), OUR4) is not None


def test_a_source_of_the_other_family_is_refused() -> None:
    with pytest.raises(ValueError, match="another family"):
        time_exceeded(Packet.of(udp(*FOUR)), OUR6)
