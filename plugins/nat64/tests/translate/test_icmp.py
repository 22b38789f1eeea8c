"""ICMP errors in the other family: types, pointers, MTUs, the embedded packet, extensions, sizes (RFC 7915, 4884)."""

from __future__ import annotations

import pytest
from nat64_kit import CLIENT, HOST, HOST6, POOL, ROUTER, ROUTER6, good, p, parse, right
from scapy.all import (  # type: ignore[attr-defined]
    ICMP,
    IP,
    TCP,
    UDP,
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrFragment,
    Raw,
    raw,
)
from vpnrs_nat64.translate.headers import to_v4, to_v6
from vpnrs_nat64.translate.icmp import answer, error_to_v4, error_to_v6
from vpnrs_nat64.translate.icmp_tables import mtu_to_v4, mtu_to_v6
from vpnrs_nat64.translate.problem import (
    Error,
    Problem,
    hop_limit,
    other_protocol,
    prohibited,
    reassembly_timeout,
    too_big,
    unreachable,
)
from vpnrs_nat64.translate.tuples import Kind, Tuple, embedded_tuple, kind

from vpnrs_core.packet.checksum import ones_sum
from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit import packets

MTUS = {"mtu4": 1500, "mtu6": 1420}


def mapping4(protocol: int, client: int = 5000, host: int = 80) -> Tuple:
    return Tuple(protocol, p(POOL), p(HOST), client, host)


def mapping6(protocol: int, client: int = 1234, host: int = 80) -> Tuple:
    return Tuple(protocol, p(HOST6), p(CLIENT), host, client)


def icmp4(type_: int, code: int, inner: bytes, rest: int = 0, source: str = ROUTER) -> Packet:
    head = bytes((type_, code, 0, 0)) + rest.to_bytes(4, "big") + inner
    check = 0xFFFF - (ones_sum(head) or 0xFFFF)
    return Packet.of(packets.ip_packet(source, POOL, 1, head[:2] + check.to_bytes(2, "big") + head[4:]))


def icmp6(type_: int, code: int, inner: bytes, rest: int = 0, source: str = CLIENT) -> Packet:
    body = rest.to_bytes(4, "big") + inner
    return Packet.of(raw(IPv6(src=source, dst=HOST6) / ICMPv6Unknown(type=type_, code=code, msgbody=body)))


def sent4(payload: bytes = b"query") -> bytes:
    """What the pool sent to the host."""
    return packets.udp(POOL, HOST, payload, sport=5000, dport=80)


def sent6(payload: bytes = b"reply") -> bytes:
    """What the host sent to the client."""
    return packets.udp(HOST6, CLIENT, payload, sport=80, dport=1234)


V4_TO_V6 = (
    [((3, code), (1, 0, 0)) for code in (0, 1, 5, 6, 7, 8, 11, 12)]
    + [((3, code), (1, 1, 0)) for code in (9, 10, 13, 15)]
    + [((3, 2), (4, 1, 6)), ((3, 3), (1, 4, 0)), ((11, 0), (3, 0, 0)), ((11, 1), (3, 1, 0))]
    + [((3, 14), None), ((3, 16), None), ((4, 0), None), ((5, 0), None), ((12, 1), None)]
)


@pytest.mark.parametrize(("was", "becomes"), V4_TO_V6)
def test_types_and_codes_to_ipv6(was: tuple[int, int], becomes: tuple[int, int, int] | None) -> None:
    new = error_to_v6(icmp4(*was, sent4()), mapping6(17), p(ROUTER6), **MTUS)
    if becomes is None:
        assert new == Problem("icmp_type")
        return
    parsed = right(good(new))
    message = raw(parsed.payload)
    assert (message[0], message[1], int.from_bytes(message[4:8], "big")) == becomes
    assert (parsed.src, parsed.dst, parsed.hlim) == (ROUTER6, CLIENT, 63)


V6_TO_V4 = [
    ((1, 0), (3, 1)), ((1, 1), (3, 10)), ((1, 2), (3, 1)), ((1, 3), (3, 1)), ((1, 4), (3, 3)), ((1, 5), None),
    ((1, 6), None), ((3, 0), (11, 0)), ((3, 1), (11, 1)), ((4, 1), (3, 2)), ((4, 2), None), ((5, 0), None),
    ((100, 0), None), ((2, 0), (3, 4)), ((2, 7), (3, 4)), ((127, 0), None),
]  # fmt: skip


@pytest.mark.parametrize(("was", "becomes"), V6_TO_V4)
def test_types_and_codes_to_ipv4(was: tuple[int, int], becomes: tuple[int, int] | None) -> None:
    new = error_to_v4(icmp6(*was, sent6()), mapping4(17), **MTUS)
    if becomes is None:
        assert new == Problem("icmp_type")
        return
    parsed = right(good(new))
    assert (parsed[ICMP].type, parsed[ICMP].code) == becomes
    assert (parsed.src, parsed.dst, parsed.ttl) == (POOL, HOST, 63)


POINTER_TO_V6 = {0: 0, 1: 1, 2: 4, 3: 4, 8: 7, 9: 6, 12: 8, 13: 8, 14: 8, 15: 8, 16: 24, 17: 24, 18: 24, 19: 24}
POINTER_TO_V4 = (
    {0: 0, 1: 1, 4: 2, 5: 2, 6: 9, 7: 8} | dict.fromkeys(range(8, 24), 12) | dict.fromkeys(range(24, 40), 16)
)


def test_pointers_to_ipv6() -> None:
    for pointer in range(256):
        for code in (0, 2):
            new = error_to_v6(icmp4(12, code, sent4(), pointer << 24), mapping6(17), p(ROUTER6), **MTUS)
            if pointer in POINTER_TO_V6:
                expected = b"\4\0" + POINTER_TO_V6[pointer].to_bytes(4, "big")
                message = good(new).data[40:]
                assert message[:2] + message[4:8] == expected
            else:
                assert new == Problem("icmp_type")


def test_pointers_to_ipv4() -> None:
    for pointer in [*range(300), 0xFFFFFFFF]:
        new = error_to_v4(icmp6(4, 0, sent6(), pointer), mapping4(17), **MTUS)
        if pointer in POINTER_TO_V4:
            message = good(new).data[20:]
            assert message[:2] + message[4:8] == bytes((12, 0, POINTER_TO_V4[pointer], 0, 0, 0))
        else:
            assert new == Problem("icmp_type")


def test_m1_mtu_to_ipv6() -> None:
    assert mtu_to_v6(1400, 1500, 1500, 9000) == 1420
    assert mtu_to_v6(1400, 1500, 1500, 1410) == 1410
    assert mtu_to_v6(9000, 9001, 1450, 9000) == 1470
    assert mtu_to_v6(576, 1500, 1500, 1500) == 1280
    assert mtu_to_v6(0, 1500, 9000, 9000) == 1512
    assert mtu_to_v6(0, 4352, 9000, 9000) == 2022
    assert mtu_to_v6(0, 1006, 9000, 9000) == 1280


def test_m2_mtu_to_ipv4() -> None:
    assert mtu_to_v4(1400, False, 1500, 1500) == 1380
    assert mtu_to_v4(1400, True, 1500, 1500) == 1372
    assert mtu_to_v4(9000, False, 1450, 9000) == 1450
    assert mtu_to_v4(9000, True, 9000, 1500) == 1472
    assert mtu_to_v4(1000, False, 576, 1500) == 576
    assert mtu_to_v4(0xFFFFFFFF, False, 0xFFFFF, 0xFFFFF) == 0xFFFF


@pytest.mark.parametrize("told", [0, 68, 1000, 1279])
def test_m2_no_client_makes_hosts_believe_in_an_mtu_that_ipv6_has_not(told) -> None:
    """All clients share the address that the host remembers it for."""
    assert mtu_to_v4(told, False, 1500, 1500) == 1260
    assert mtu_to_v4(told, True, 1500, 1500) == 1252
    four = right(good(error_to_v4(icmp6(2, 0, sent6(), told), mapping4(17), **MTUS)))
    assert int.from_bytes(raw(four.payload)[6:8], "big") == 1260


def test_translated_mtus_are_in_the_messages() -> None:
    six = right(good(error_to_v6(icmp4(3, 4, sent4(), 1380), mapping6(17), p(ROUTER6), **MTUS)))
    assert raw(six.payload)[:2] + raw(six.payload)[4:8] == bytes((2, 0)) + (1400).to_bytes(4, "big")
    four = right(good(error_to_v4(icmp6(2, 0, sent6(), 1390), mapping4(17), **MTUS)))
    assert raw(four.payload)[:2] + raw(four.payload)[4:8] == bytes((3, 4, 0, 0)) + (1370).to_bytes(2, "big")
    fragment = raw(IPv6(src=HOST6, dst=CLIENT) / IPv6ExtHdrFragment(nh=17, m=1) / Raw(sent6()[40:56]))
    four = right(good(error_to_v4(icmp6(2, 0, fragment, 1390), mapping4(17), **MTUS)))
    assert int.from_bytes(raw(four.payload)[6:8], "big") == 1362


def test_e1_embedded_packet_is_what_the_client_sent() -> None:
    client_sent = packets.tcp(CLIENT, HOST6, b"data", sport=1234, dport=80, ip={"ttl": 64, "tos": 0x28})
    on_the_wire = good(to_v4(Packet.of(client_sent), p(POOL), p(HOST), 5000, 80)).data
    new = right(good(error_to_v6(icmp4(11, 0, on_the_wire), mapping6(6), p(ROUTER6), **MTUS)))
    quoted = raw(new.payload)[8:]
    assert quoted == client_sent[:7] + b"\x3f" + client_sent[8:]


def test_e1_embedded_packet_is_what_the_host_sent() -> None:
    host_sent = packets.tcp(HOST, POOL, b"data", sport=80, dport=5000, ip={"ttl": 50, "dont_fragment": False})
    at_the_client = good(to_v6(Packet.of(host_sent), p(HOST6), p(CLIENT), 80, 1234)).data
    new = right(good(error_to_v4(icmp6(1, 4, at_the_client), mapping4(6), **MTUS)))
    quoted = IP(raw(new.payload)[8:])
    assert (quoted.src, quoted.dst, quoted.sport, quoted.dport, quoted.ttl) == (HOST, POOL, 80, 5000, 49)
    assert quoted.flags == ""
    right(raw(quoted))


def test_e1_embedded_echo_both_ways() -> None:
    request = packets.echo(CLIENT, HOST6, b"0123456789", ident=7)
    wire = good(to_v4(Packet.of(request), p(POOL), p(HOST), 900, 900)).data
    error = icmp4(11, 0, wire)
    assert embedded_tuple(error) == Tuple(1, p(HOST), p(POOL), 900, 900)
    new = right(good(error_to_v6(error, Tuple(58, p(HOST6), p(CLIENT), 7, 7), p(ROUTER6), **MTUS)))
    assert raw(new.payload)[8 + 8 :] == request[8:]
    at_client = packets.echo(HOST6, CLIENT, b"abc", ident=7)
    back = right(good(error_to_v4(icmp6(1, 3, at_client), Tuple(1, p(POOL), p(HOST), 900, 900), **MTUS)))
    quoted = right(raw(back.payload)[8:])
    assert (quoted[ICMP].type, quoted[ICMP].id) == (8, 900)


@pytest.mark.parametrize("length", [28, 32, 37, 38, 40])
def test_e1_embedded_packet_may_be_cut_anywhere_behind_its_ports(length: int) -> None:
    wire = packets.tcp(POOL, HOST, b"data" * 9, sport=5000, dport=80)
    quoted = raw(good(error_to_v6(icmp4(11, 0, wire[:length]), mapping6(6), p(ROUTER6), **MTUS)).data)[48:]
    assert len(quoted) == length + 20
    whole = good(to_v6(Packet.of(wire), p(CLIENT), p(HOST6), 1234, 80)).data
    same = length + 20 if length >= 38 else min(length + 20, 40 + 16)
    assert quoted[8:same] == whole[8:same]
    assert quoted[4:6] == whole[4:6]


def test_e1_wrong_embedded_transport_checksum_does_not_matter() -> None:
    wire = bytearray(sent4())
    wire[26] ^= 0xFF
    right_one = good(error_to_v6(icmp4(11, 0, sent4()), mapping6(17), p(ROUTER6), **MTUS)).data
    wrong_one = good(error_to_v6(icmp4(11, 0, bytes(wire)), mapping6(17), p(ROUTER6), **MTUS)).data
    assert wrong_one[94:96] != right_one[94:96]


def test_e2_tuple_is_the_embedded_one_swapped() -> None:
    assert embedded_tuple(icmp4(3, 1, sent4())) == Tuple(17, p(HOST), p(POOL), 80, 5000)
    assert embedded_tuple(icmp6(1, 4, sent6())) == Tuple(17, p(CLIENT), p(HOST6), 1234, 80)
    assert embedded_tuple(Packet.of(sent4())) is None
    assert embedded_tuple(icmp4(3, 1, sent4()[:22])) is None
    assert embedded_tuple(icmp4(3, 1, packets.ip_packet(POOL, HOST, 47, bytes(20)))) is None
    later = raw(IP(src=POOL, dst=HOST, proto=17, frag=10) / Raw(bytes(16)))
    assert embedded_tuple(icmp4(3, 1, later)) is None


def test_e3_wrong_outer_checksum_is_dropped() -> None:
    for packet in (icmp4(3, 1, sent4()), icmp6(1, 4, sent6())):
        bad = bytearray(packet.frame)
        bad[-1] ^= 1
        translate = error_to_v6 if packet.version == 4 else error_to_v4
        mapping = mapping6(17) if packet.version == 4 else mapping4(17)
        assert translate(Packet(bytes(bad)), mapping, **MTUS) == Problem("icmp_checksum")


def test_e3_wrong_embedded_header_checksum_is_dropped() -> None:
    wire = bytearray(sent4())
    wire[8] ^= 1
    assert error_to_v6(icmp4(3, 1, bytes(wire)), mapping6(17), **MTUS) == Problem("icmp_inner")


def test_error_in_an_error_is_dropped() -> None:
    inner4 = raw(IP(src=POOL, dst=HOST) / ICMP(type=3, code=1) / Raw(sent4()))
    inner6 = raw(IPv6(src=HOST6, dst=CLIENT) / ICMPv6DestUnreach() / Raw(sent6()))
    assert embedded_tuple(icmp4(3, 1, inner4)) is None
    assert error_to_v6(icmp4(3, 1, inner4), mapping6(1), **MTUS) == Problem("icmp_inner")
    assert error_to_v4(icmp6(1, 4, inner6), mapping4(58), **MTUS) == Problem("icmp_inner")


EXTENSION = bytes.fromhex("2000 0000 0008 0101 00010101".replace(" ", ""))


def with_length4(inner: bytes, words: int, type_: int = 11, extension: bytes = EXTENSION) -> Packet:
    return icmp4(type_, 0, inner.ljust(words * 4, b"\0") + extension, words << 16)


@pytest.mark.parametrize("words", [16, 32, 33])
def test_e4_extension_survives_and_its_length_is_counted_in_the_other_unit(words: int) -> None:
    inner = sent4(bytes(range(30)))
    message = raw(right(good(error_to_v6(with_length4(inner, words), mapping6(17), p(ROUTER6), **MTUS))).payload)
    length = message[4] * 8
    assert length >= 128
    assert message[8 + length :] == EXTENSION
    assert message[8 + len(inner) + 20 : 8 + length] == bytes(length - len(inner) - 20)
    assert message[5:8] == bytes(3)


def test_e4_extension_survives_to_ipv4() -> None:
    inner = sent6(bytes(range(30)))
    packet = icmp6(3, 0, inner.ljust(128, b"\0") + EXTENSION, 16 << 24)
    message = raw(right(good(error_to_v4(packet, mapping4(17), **MTUS))).payload)
    assert (message[4], message[5], message[6:8]) == (0, 32, b"\0\0")
    assert message[8 + 128 :] == EXTENSION


def test_e4_datagram_is_cut_before_the_extension() -> None:
    inner = sent6(bytes(2000))[:1160]
    packet = icmp6(3, 0, inner + EXTENSION, 145 << 24)
    message = raw(right(good(error_to_v4(packet, mapping4(17), **MTUS))).payload)
    assert len(message) <= 576 - 20
    assert message.endswith(EXTENSION)
    assert message[5] * 4 == len(message) - 8 - len(EXTENSION) == 536


def test_e4_too_long_an_extension_goes_whole() -> None:
    inner = sent6(bytes(200))[:128]
    packet = icmp6(3, 0, inner + bytes(500), 16 << 24)
    message = raw(right(good(error_to_v4(packet, mapping4(17), **MTUS))).payload)
    assert message[5] == 0
    assert len(message) == 8 + 128 - 20


def test_e4_types_without_length_lose_the_extension() -> None:
    message = raw(right(good(error_to_v6(with_length4(sent4(), 32, type_=12), mapping6(17), **MTUS))).payload)
    assert message[:2] + message[4:8] == bytes((4, 0, 0, 0, 0, 0))
    assert len(message) == 8 + 20 + len(sent4())


def test_e5_sizes() -> None:
    long6, long4 = sent6(bytes(1400))[:1232], sent4(bytes(1400))[:1400]
    assert len(right(good(error_to_v4(icmp6(1, 4, long6), mapping4(17), **MTUS)))) == 576
    assert len(right(good(error_to_v6(icmp4(3, 3, long4), mapping6(17), **MTUS)))) == 1280


def test_e6_sources_are_the_caller_s() -> None:
    assert parse(good(error_to_v6(icmp4(11, 0, sent4()), mapping6(17), p(ROUTER6), **MTUS))).src == ROUTER6
    assert parse(good(error_to_v6(icmp4(11, 0, sent4()), mapping6(17), **MTUS))).src == HOST6
    assert parse(good(error_to_v4(icmp6(1, 4, sent6()), mapping4(17), **MTUS))).src == POOL
    assert parse(good(error_to_v4(icmp6(1, 4, sent6()), mapping4(17), p(ROUTER), **MTUS))).src == ROUTER


PROBLEMS = [
    (4, hop_limit(4), (11, 0)), (6, hop_limit(6), (3, 0)), (4, too_big(4, 1300), (3, 4)),
    (6, too_big(6, 1300), (2, 0)), (4, other_protocol(4), (3, 2)), (6, other_protocol(6), (1, 4)),
    (4, prohibited(4, "x"), (3, 13)), (6, prohibited(6, "x"), (1, 1)), (4, unreachable(4, "x"), (3, 1)),
    (6, unreachable(6, "x"), (1, 3)), (4, unreachable(4, "x", port=True), (3, 3)),
    (6, unreachable(6, "x", port=True), (1, 4)), (4, reassembly_timeout(4), (11, 1)),
    (6, reassembly_timeout(6), (3, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("version", "problem", "kind_"), PROBLEMS)
def test_errors_of_our_own(version: int, problem: Problem, kind_: tuple[int, int]) -> None:
    four = version == 4
    packet = Packet.of(packets.udp(HOST, POOL, b"hi") if four else packets.udp(CLIENT, HOST6, b"hi"))
    assert problem.error is not None
    new = right(good(answer(packet, problem.error, p(POOL if four else ROUTER6))))
    message = raw(new.payload)
    assert (message[0], message[1]) == kind_
    assert message[8:] == packet.data
    if problem.reason == "too_big":
        assert int.from_bytes(message[4:8], "big") == 1300


def test_pointer_of_our_own_parameter_problem() -> None:
    packet = Packet.of(packets.udp(CLIENT, HOST6, b"hi"))
    assert raw(right(good(answer(packet, Error(4, 0, 43), p(ROUTER6)))).payload)[4:8] == bytes((0, 0, 0, 43))


def test_e7_no_error_for_what_must_not_be_answered() -> None:
    error = Error(3, 1)
    for data in (
        icmp4(3, 1, sent4()).data,
        raw(IP(src=HOST, dst=POOL, proto=17, frag=10) / Raw(bytes(16))),
        packets.udp(HOST, "224.0.0.1"),
        packets.udp(HOST, "255.255.255.255"),
        packets.udp("0.0.0.0", POOL),
        packets.udp("224.0.0.1", POOL),
        packets.udp("127.0.0.1", POOL),
    ):
        assert answer(Packet.of(data), error, p(POOL)) is None
    for data in (icmp6(1, 4, sent6()).data, packets.udp(CLIENT, "ff02::1"), packets.udp("::", HOST6)):
        assert answer(Packet.of(data), Error(1, 1), p(ROUTER6)) is None


def test_an_error_that_is_none_or_in_pieces_is_refused() -> None:
    assert error_to_v6(Packet.of(sent4()), mapping6(17), **MTUS) == Problem("malformed")
    assert error_to_v4(icmp4(3, 1, sent4()), mapping4(17), **MTUS) == Problem("malformed")
    piece = Packet.of(raw(IP(src=ROUTER, dst=POOL, proto=1, flags="MF") / Raw(icmp4(3, 1, sent4()).data[20:44])))
    assert kind(piece) is Kind.FRAGMENT
    assert error_to_v6(piece, mapping6(17), **MTUS) == Problem("fragment")


def test_an_error_that_ran_out_of_hops_is_dropped_silently() -> None:
    packet = raw(IPv6(src=CLIENT, dst=HOST6, hlim=1) / ICMPv6DestUnreach() / Raw(sent6()))
    assert error_to_v4(Packet.of(packet), mapping4(17), **MTUS) == Problem("hop_limit")


def test_embedded_fragment_keeps_its_fragment_header() -> None:
    wire = raw(IP(src=POOL, dst=HOST, proto=17, flags="MF", id=0x4242) / Raw(sent4(bytes(60))[20:60]))
    new = right(good(error_to_v6(icmp4(11, 1, wire), mapping6(17), p(ROUTER6), **MTUS)))
    inner = IPv6(raw(new.payload)[8:])
    assert (inner[IPv6ExtHdrFragment].id, inner[IPv6ExtHdrFragment].m, inner[UDP].sport) == (0x4242, 1, 1234)


def test_embedded_tcp_and_unknown_transports() -> None:
    wire = raw(IP(src=POOL, dst=HOST) / TCP(sport=5000, dport=80))
    new = right(good(error_to_v6(icmp4(3, 3, wire), mapping6(6), p(ROUTER6), **MTUS)))
    assert (IPv6(raw(new.payload)[8:]).sport, IPv6(raw(new.payload)[8:]).dport) == (1234, 80)
    ping = raw(IPv6(src=HOST6, dst=CLIENT) / ICMPv6EchoRequest(id=3))
    assert embedded_tuple(icmp6(1, 4, ping)) == Tuple(58, p(CLIENT), p(HOST6), 3, 3)
