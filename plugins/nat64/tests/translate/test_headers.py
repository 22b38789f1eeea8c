"""IP and transport headers, packet by packet, as RFC 7915 §4.1 and §5.1 have them; scapy confirms each checksum."""

from __future__ import annotations

import pytest
from nat64_kit import CLIENT, HOST, HOST6, IN6, OUT4, POOL, good, p, parse, right
from scapy.all import (  # type: ignore[attr-defined]
    ICMP,
    IP,
    TCP,
    UDP,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    Raw,
    raw,
)
from vpnrs_nat64.translate.headers import split_for_growth, to_v4, to_v6
from vpnrs_nat64.translate.problem import Error, Problem
from vpnrs_nat64.translate.tuples import Kind, Tuple, fault, kind, tuple_of

from vpnrs_core.packet.checks import well_formed
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit import packets


def build(packet: IP | IPv6) -> Packet:
    return Packet.of(raw(packet))


def out(packet: IPv6, sport: int | None = 5000, dport: int | None = 80, ident: int = 77) -> Packet | Problem:
    return to_v4(build(packet), *OUT4, sport, dport, ident)


@pytest.mark.parametrize("l4", [TCP(sport=1234, dport=80, flags="S"), UDP(sport=1234, dport=80)])
def test_six_to_four(l4: TCP | UDP) -> None:
    new = right(good(out(IPv6(src=CLIENT, dst=HOST6, tc=0xB9, fl=0x12345, hlim=64) / l4 / Raw(b"x" * 31))))
    assert (new.src, new.dst, new.ttl, new.tos, new.ihl, new.id) == (POOL, HOST, 63, 0xB9, 5, 77)
    assert (new.sport, new.dport, new.flags) == (5000, 80, "")


@pytest.mark.parametrize("l4", [TCP(sport=80, dport=5000, flags="SA"), UDP(sport=80, dport=5000)])
def test_four_to_six(l4: TCP | UDP) -> None:
    packet = build(IP(src=HOST, dst=POOL, tos=0xB9, ttl=9, flags="DF") / l4 / Raw(b"x" * 31))
    new = right(good(to_v6(packet, *IN6, 80, 1234)))
    assert (new.src, new.dst, new.hlim, new.tc, new.fl) == (HOST6, CLIENT, 8, 0xB9, 0)
    assert (new.sport, new.dport) == (80, 1234)
    assert not new.haslayer(IPv6ExtHdrFragment)


def test_type_of_service_may_be_fixed() -> None:
    six = build(IPv6(src=CLIENT, dst=HOST6, tc=0xFF) / UDP())
    assert parse(good(to_v4(six, *OUT4, tos=0))).tos == 0
    assert parse(good(to_v6(build(IP(tos=0xFF) / UDP()), *IN6, tos=0))).tc == 0


@pytest.mark.parametrize(("l4", "df"), [(1240, ""), (1241, "DF")])
def test_df_is_clear_up_to_1260_bytes(l4: int, df: str) -> None:
    assert parse(good(out(IPv6(src=CLIENT, dst=HOST6) / UDP() / Raw(bytes(l4 - 8))))).flags == df


def test_echo_both_ways() -> None:
    request = right(good(out(IPv6(src=CLIENT, dst=HOST6) / ICMPv6EchoRequest(id=7, seq=3, data=b"abc"), 900, 900)))
    assert (request[ICMP].type, request[ICMP].id, request[ICMP].seq) == (8, 900, 3)
    answer = build(IP(src=HOST, dst=POOL) / ICMP(type=0, id=900, seq=3) / Raw(b"abc"))
    back = right(good(to_v6(answer, *IN6, 7, 7)))
    assert (back[ICMPv6EchoReply].id, back[ICMPv6EchoReply].seq, back[ICMPv6EchoReply].data) == (7, 3, b"abc")


@pytest.mark.parametrize("wrong", [1, 0x1234, 0xFFFE])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "echo"])
def test_wrong_checksum_comes_out_equally_wrong(protocol: str, wrong: int) -> None:
    data = getattr(packets, protocol)(CLIENT, HOST6, b"some data")
    at = 40 + {"tcp": 16, "udp": 6, "echo": 2}[protocol]
    value = (int.from_bytes(data[at : at + 2], "big") + wrong) % 65535
    bad = data[:at] + value.to_bytes(2, "big") + data[at + 2 :]
    new = good(to_v4(Packet.of(bad), *OUT4, 5000, 80)).data
    expected = good(to_v4(Packet.of(data), *OUT4, 5000, 80)).data
    at -= 20
    difference = int.from_bytes(new[at : at + 2], "big") - int.from_bytes(expected[at : at + 2], "big")
    assert difference % 65535 == wrong


def test_udp_checksum_that_becomes_zero_leaves_as_ffff() -> None:
    data = bytearray(
        raw(IP(src=HOST, dst=POOL) / UDP(sport=53, dport=40000, chksum=0x85FD) / Raw(bytes.fromhex("c259")))
    )
    right(bytes(data))
    new = good(to_v6(Packet.of(bytes(data)), p(HOST6), p(CLIENT), 53, 12345))
    assert new.data[46:48] == b"\xff\xff"
    right(new)


def test_f4_missing_udp_checksum_is_computed() -> None:
    for payload in (b"", b"odd", b"even"):
        packet = build(IP(src=HOST, dst=POOL) / UDP(sport=53, dport=40000, chksum=0) / Raw(payload))
        right(good(to_v6(packet, *IN6, 53, 12345)))


def test_f4_checksum_of_udp_with_options_covers_the_udp_length_only() -> None:
    udp = raw(UDP(sport=53, dport=40000, chksum=0, len=11) / Raw(b"abcOPTIONS"))
    new = good(to_v6(Packet.of(raw(IP(src=HOST, dst=POOL, proto=17) / Raw(udp))), *IN6, 53, 12345)).data
    assert new.endswith(b"abcOPTIONS")
    head = IPv6(new[:40])
    head.plen = 11
    right(raw(head)[:40] + new[40:51])


def test_udp_without_checksum_is_illegal_in_ipv6() -> None:
    assert out(IPv6(src=CLIENT, dst=HOST6) / UDP(chksum=0)) == Problem("udp_checksum")


@pytest.mark.parametrize("limit", [0, 1])
def test_hop_limit_runs_out(limit: int) -> None:
    assert out(IPv6(src=CLIENT, dst=HOST6, hlim=limit) / UDP()) == Problem("hop_limit", Error(3, 0))
    assert to_v6(build(IP(ttl=limit) / UDP()), *IN6) == Problem("hop_limit", Error(11, 0))


def test_second_pass_of_a_hairpin_does_not_count_as_a_hop() -> None:
    new = good(to_v6(good(out(IPv6(src=CLIENT, dst=HOST6, hlim=2) / UDP())), *IN6, hop=0))
    assert parse(new).hlim == 1


def test_wrong_ipv4_header_checksum_is_dropped_silently() -> None:
    assert to_v6(build(IP(chksum=0x1234) / UDP()), *IN6) == Problem("ipv4_checksum")


@pytest.mark.parametrize(("option", "refused"), [
    (b"\x83\x07\x04\1\2\3\4\0", True), (b"\x89\x07\x04\1\2\3\4\0", True), (b"\x83\x07\x08\1\2\3\4\0", False),
    (b"\1\1\1\1", False), (b"\x94\x04\0\0", False), (b"\x01\x83\x03\x04", False), (b"\x83\x30\x04\x00", False),
])  # fmt: skip
def test_only_unexpired_source_routes_stop_ipv4_options(option: bytes, refused: bool) -> None:
    packet = Packet.of(packets.udp(HOST, POOL, b"hi", ip={"options": option}))
    new = to_v6(packet, *IN6)
    if refused:
        assert new == Problem("source_route", Error(3, 5))
    else:
        assert len(right(good(new))) == 40 + 8 + 2


EXTENSIONS = [
    IPv6ExtHdrHopByHop(options=PadN(optdata=bytes(4))),
    IPv6ExtHdrDestOpt(options=PadN(optdata=bytes(12))),
    IPv6ExtHdrRouting(type=4, addresses=[HOST6], segleft=0),
]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_extension_headers_are_skipped(extension: IPv6ExtHdrHopByHop) -> None:
    base = IPv6(src=CLIENT, dst=HOST6)
    new = right(good(out(base / extension / UDP(sport=9) / Raw(b"hi"))))
    assert raw(new) == raw(right(good(out(base / UDP(sport=9) / Raw(b"hi")))))


def test_routing_header_with_segments_left_is_answered_with_its_place() -> None:
    packet = IPv6(src=CLIENT, dst=HOST6) / EXTENSIONS[1] / IPv6ExtHdrRouting(addresses=[HOST6], segleft=1) / UDP()
    assert out(packet) == Problem("source_route", Error(4, 0, 40 + 16 + 3))
    assert kind(build(packet)) is Kind.UNTRANSLATABLE
    assert fault(build(packet)).error == Error(4, 0, 59)


@pytest.mark.parametrize("nh", [0, 43, 51, 60, 135, 139, 140])
def test_nothing_but_a_transport_may_follow_a_fragment_header(nh: int) -> None:
    body = bytes((17, 0)) + bytes(6) + raw(UDP(len=8))
    assert out(IPv6(src=CLIENT, dst=HOST6) / IPv6ExtHdrFragment(nh=nh, id=1) / Raw(body)) == Problem(
        "extension_after_fragment" if nh else "malformed"
    )


def test_atomic_fragment_stands_alone() -> None:
    packet = IPv6(src=CLIENT, dst=HOST6) / IPv6ExtHdrFragment(nh=17, id=0xABCD1234) / UDP() / Raw(bytes(1400))
    assert kind(build(packet)) is Kind.UDP
    new = right(good(out(packet)))
    assert (new.id, new.flags, new.frag) == (0x1234, "", 0)


def test_fragments_keep_offset_more_and_identification() -> None:
    later = IPv6(src=CLIENT, dst=HOST6) / IPv6ExtHdrFragment(nh=17, id=0xABCD1234, offset=20, m=1) / Raw(bytes(16))
    new = parse(good(out(later)))
    assert (new.id, new.flags, new.frag, new.proto) == (0x1234, "MF", 20, 17)
    back = parse(good(to_v6(build(new), *IN6)))
    fragment = back[IPv6ExtHdrFragment]
    assert (fragment.id, fragment.m, fragment.offset, fragment.nh, back.plen) == (0x1234, 1, 20, 17, 24)


def test_f2_first_fragment_gets_the_checksum_change_and_later_ones_none() -> None:
    whole = packets.udp(HOST, POOL, bytes(range(64)), sport=53, dport=40000, ip={"dont_fragment": False})
    first = build(IP(src=HOST, dst=POOL, id=1, proto=17, flags="MF") / Raw(whole[20:44]))
    later = build(IP(src=HOST, dst=POOL, id=1, proto=17, frag=3) / Raw(whole[44:]))
    pieces = [good(to_v6(packet, *IN6, 53, 12345)).data[48:] for packet in (first, later)]
    assert b"".join(pieces) == good(to_v6(Packet.of(whole), *IN6, 53, 12345)).data[40:]


def test_f3_fragments_of_icmp_need_reassembly() -> None:
    six = (
        IPv6(src=CLIENT, dst=HOST6) / IPv6ExtHdrFragment(nh=58, m=1, id=1) / Raw(raw(ICMPv6EchoRequest(data=bytes(8))))
    )
    assert out(six) == Problem("fragment")
    assert to_v6(build(IP(flags="MF") / ICMP() / Raw(bytes(8))), *IN6) == Problem("fragment")


def test_messages_without_counterpart() -> None:
    for number in (130, 131, 133, 134, 135, 136, 137, 143):
        packet = Packet.of(packets.ip_packet(CLIENT, HOST6, 58, bytes((number, 0)) + bytes(22)))
        assert kind(packet) is Kind.UNTRANSLATABLE
        assert fault(packet) == Problem("icmp_type") == to_v4(packet, *OUT4)
    for number in (9, 10, 13, 14, 15, 16, 17, 18):
        packet = Packet.of(packets.ip_packet(HOST, POOL, 1, bytes((number, 0)) + bytes(22)))
        assert kind(packet) is Kind.UNTRANSLATABLE
        assert to_v6(packet, *IN6) == Problem("icmp_type")


def test_the_other_family_s_icmp_is_nobody_s() -> None:
    assert kind(Packet.of(packets.ip_packet(CLIENT, HOST6, 1, bytes(8)))) is Kind.UNTRANSLATABLE
    assert to_v6(Packet.of(packets.ip_packet(HOST, POOL, 58, bytes(8))), *IN6) == Problem("icmp_type")


@pytest.mark.parametrize("protocol", [50, 51, 132, 47])
def test_other_transports_are_recognised_and_pass_untouched(protocol: int) -> None:
    body = bytes((59, 1)) + bytes(range(2, 30))
    packet = Packet.of(packets.ip_packet(CLIENT, HOST6, protocol, body))
    assert kind(packet) is Kind.OTHER
    assert tuple_of(packet) is None
    new = good(to_v4(packet, *OUT4)).data
    assert (new[9], new[20:]) == (protocol, body)


def test_tuples() -> None:
    assert tuple_of(Packet.of(packets.tcp(CLIENT, HOST6, sport=5, dport=6))) == Tuple(6, p(CLIENT), p(HOST6), 5, 6)
    assert tuple_of(Packet.of(packets.udp(HOST, POOL, sport=5, dport=6))) == Tuple(17, p(HOST), p(POOL), 5, 6)
    assert tuple_of(Packet.of(packets.echo(CLIENT, HOST6, ident=9))) == Tuple(58, p(CLIENT), p(HOST6), 9, 9)
    assert tuple_of(Packet.of(packets.echo(HOST, POOL, ident=9, reply=True))) == Tuple(1, p(HOST), p(POOL), 9, 9)
    assert Tuple(6, b"a", b"b", 1, 2).swapped() == Tuple(6, b"b", b"a", 2, 1)


@pytest.mark.parametrize("make", [packets.super_tcp, packets.super_udp])
@pytest.mark.parametrize("payload", [1300, 1400, 20_001])
def test_m6_super_packets_are_translated_whole(make: object, payload: int) -> None:
    data = bytes(index % 251 for index in range(payload))
    six = make(CLIENT, HOST6, data, 1360, sport=9, dport=80)  # type: ignore[operator]
    new = good(to_v4(six, *OUT4, 5000, 80, 10))
    well_formed(new.frame)
    assert (new.gso_size, new.segments) == (six.gso_size, six.segments)
    assert new.gso_type == {0: 0, 4: 1, 5: 5}[six.gso_type]
    cut = [right(ip) for ip in segment(new)]
    assert b"".join(ip.load for ip in cut) == data
    assert cut[0].flags == ("DF" if min(payload, 1360) + new.header_length > 1260 else "")
    back = good(to_v6(new, p(HOST6), p(CLIENT), 5000, 9))
    well_formed(back.frame)
    assert b"".join(right(ip).load for ip in segment(back)) == data


def test_partial_checksum_behind_extension_headers() -> None:
    packet = packets.super_udp(CLIENT, HOST6, bytes(3000), 1000, ip={"options": bytes((1, 4)) + bytes(4)})
    new = good(to_v4(packet, *OUT4, 5000, 80))
    assert [len(right(ip)) for ip in segment(new)] == [1028] * 3


def test_inner_partial_checksum_is_finished_first() -> None:
    inner = packets.ip_packet("192.0.2.1", "192.0.2.2", 17, bytes(8) + b"x" * 20)
    outer = Packet.of(packets.ip_packet(CLIENT, HOST6, 47, inner), vnet=bytes((1, 0, 0, 0, 0, 0, 60, 0, 6, 0)))
    new = good(to_v4(outer, *OUT4))
    assert new.vnet == bytes(10)
    assert new.data[20:] == segment(outer)[0][40:]


@pytest.mark.parametrize("addresses", [(CLIENT, HOST6), (HOST, POOL)])
def test_super_packet_that_would_grow_too_long_is_split(addresses: tuple[str, str]) -> None:
    data = bytes(65_480)
    packet = packets.super_tcp(*addresses, data, 1400)
    pieces = split_for_growth(packet)
    assert len(pieces) == 2
    assert sum(piece.header.payload_length for piece in pieces) == len(data)
    for piece in pieces:
        assert 40 + piece.header.length - piece.l4_offset <= 65_535
    small = packets.super_tcp(*addresses, bytes(65_000), 1400)
    assert split_for_growth(small) == [small]


def test_longer_than_ipv4_can_say() -> None:
    packet = Packet.of(packets.udp(CLIENT, HOST6, bytes(65_510)))
    assert to_v4(packet, *OUT4) == Problem("too_long")


def test_a_packet_of_the_wrong_family_or_none_is_refused() -> None:
    four, six = Packet.of(packets.udp(HOST, POOL)), Packet.of(packets.udp(CLIENT, HOST6))
    assert to_v4(four, *OUT4) == to_v6(six, *IN6) == to_v6(Packet.of(b"\x45"), *IN6) == Problem("malformed")
    assert kind(Packet.of(b"")) is Kind.UNTRANSLATABLE
    assert fault(Packet.of(b"")) == Problem("malformed")
