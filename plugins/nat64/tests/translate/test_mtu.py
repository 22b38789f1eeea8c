"""What passes, what is fragmented, who hears of which MTU: RFC 7915's rules with a tunnel's MTU in them."""

from __future__ import annotations

import pytest
from nat64_kit import CLIENT, HOST, HOST6, POOL, all_good, p, parse, right
from scapy.all import IPv6ExtHdrFragment  # type: ignore[attr-defined]
from vpnrs_nat64.translate.fragments import Fragments, fragment_v6
from vpnrs_nat64.translate.mtu import deliver_v4, deliver_v6
from vpnrs_nat64.translate.problem import Error, Problem

from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit import packets


def in4(size: int, df: bool) -> Packet:
    """`size`: of the whole IPv4 packet."""
    return Packet.of(packets.udp(HOST, POOL, bytes(size - 28), sport=53, ip={"dont_fragment": df, "identification": 7}))


def in6(size: int) -> Packet:
    return Packet.of(packets.udp(CLIENT, HOST6, bytes(size - 48), dport=53))


def to6(packet: Packet, mtu: int, lowest: int | None = None) -> list[Packet] | Problem:
    return deliver_v6(packet, p(HOST6), p(CLIENT), 53, 1234, mtu=mtu, lowest=lowest)


def to4(packet: Packet, mtu: int, ident: int = 1) -> list[Packet] | Problem:
    return deliver_v4(packet, p(POOL), p(HOST), 5000, 53, ident, mtu=mtu)


@pytest.mark.parametrize("mtu", [1280, 1420, 1500])
def test_m3_df_packet_larger_than_the_client_s_tunnel_is_answered(mtu: int) -> None:
    assert len(right(all_good(to6(in4(mtu - 20, True), mtu))[0])) == mtu
    assert to6(in4(mtu - 19, True), mtu) == Problem("too_big", Error(3, 4, mtu - 20))


def test_m3_lowest_ipv6_mtu_does_not_hold_for_df() -> None:
    (new,) = all_good(to6(in4(1400, True), 1420, 1280))
    assert len(right(new)) == 1420


@pytest.mark.parametrize(("lowest", "first"), [(1280, 1232), (1402, 1352), (None, 1432)])
def test_m4_without_df_it_is_fragmented(lowest: int | None, first: int) -> None:
    parts = all_good(to6(in4(2000, False), 1480, lowest))
    assert len(parts) == 2
    assert parse(parts[0]).plen - 8 == first
    assert {parse(part)[IPv6ExtHdrFragment].id for part in parts} == {7}
    whole = [Fragments().add(part, 0) for part in parts]
    assert [result.whole for result in whole] == [None, None]
    store = Fragments()
    joined = [store.add(part, 0).whole for part in parts][1]
    assert joined is not None
    right(joined)


def test_m4_what_fits_is_not_fragmented() -> None:
    (new,) = all_good(to6(in4(1260, False), 1420, 1280))
    assert not parse(new).haslayer(IPv6ExtHdrFragment)
    # It would fit this tunnel, but what is behind it may not be as wide.
    assert len(all_good(to6(in4(1261, False), 1420, 1280))) == 2


@pytest.mark.parametrize("mtu4", [1400, 1500])
def test_m5_ipv6_sender_hears_of_the_ipv4_mtu(mtu4: int) -> None:
    (new,) = all_good(to4(in6(mtu4 + 20), mtu4))
    assert len(right(new)) == mtu4
    assert to4(in6(mtu4 + 21), mtu4) == Problem("too_big", Error(2, 0, mtu4 + 20))


def test_m5_never_below_1280_but_fragmented() -> None:
    assert to4(in6(1281), 1000) == Problem("too_big", Error(2, 0, 1280))
    parts = all_good(to4(in6(1280), 1000, ident=9))
    assert [len(part.data) for part in parts] == [996, 284]
    assert {parse(part).id for part in parts} == {9}


def test_m5_reassembled_packets_are_fragmented_with_their_own_identification() -> None:
    store = Fragments()
    wholes = [store.add(part, 0).whole for part in fragment_v6(in6(4000), 1280, 0xABCD0042)]
    assert wholes[-1] is not None
    parts = all_good(to4(wholes[-1], 1500))
    assert [parse(part).id for part in parts] == [0x42] * 3
    assert all(len(part.data) <= 1500 for part in parts)
    joined = [store.add(part, 1).whole for part in parts][-1]
    assert joined is not None
    right(joined)


def test_m6_super_packets_are_judged_by_their_segments() -> None:
    six = packets.super_tcp(CLIENT, HOST6, bytes(50_000), 1360)
    (new,) = all_good(to4(six, 1400))
    assert new.segments == six.segments
    assert to4(six, 1399) == Problem("too_big", Error(2, 0, 1419))
    four = packets.super_tcp(HOST, POOL, bytes(50_000), 1360)
    (new,) = all_good(to6(four, 1420))
    assert new.segments == four.segments
    assert to6(four, 1419) == Problem("too_big", Error(3, 4, 1399))


def test_m6_super_packet_without_df_is_cut_and_fragmented() -> None:
    four = packets.super_udp(HOST, POOL, bytes(4200), 1400, ip={"dont_fragment": False, "identification": 40})
    parts = all_good(to6(four, 1420, 1280))
    assert [parse(part)[IPv6ExtHdrFragment].id for part in parts] == [40, 40, 41, 41, 42, 42]
    store = Fragments()
    for whole in filter(None, [store.add(part, 0).whole for part in parts]):
        right(whole)
    assert len(store) == 0


def test_m6_super_packet_of_small_segments_to_a_smaller_ipv4_mtu() -> None:
    six = packets.super_udp(CLIENT, HOST6, bytes(3000), 1000)
    parts = all_good(to4(six, 800, ident=65_535))
    assert all(len(part.data) <= 800 for part in parts)
    assert [parse(part).id for part in parts] == [65535, 65535, 0, 0, 1, 1]


@pytest.mark.parametrize("version", [4, 6])
def test_super_packet_of_the_largest_size(version: int) -> None:
    if version == 6:
        packet = packets.super_tcp(CLIENT, HOST6, bytes(65_535 - 20), 1360)
        parts = all_good(to4(packet, 1500, ident=10))
    else:
        packet = packets.super_tcp(HOST, POOL, bytes(65_535 - 40), 1360)
        parts = all_good(to6(packet, 1500))
    assert len(parts) == 2
    assert sum(part.header.payload_length for part in parts) == packet.header.payload_length
    assert sum(len(segment(part)) for part in parts) == packet.segments
    assert all(len(part.data) <= 65_535 for part in parts)
    if version == 6:
        assert parse(segment(parts[1])[0]).id == 10 + parts[0].segments


def test_problems_of_the_headers_come_through() -> None:
    assert to6(Packet.of(packets.udp(HOST, POOL, ip={"ttl": 1})), 1400) == Problem("hop_limit", Error(11, 0))
    assert to4(Packet.of(packets.udp(CLIENT, HOST6, ip={"ttl": 1})), 1400) == Problem("hop_limit", Error(3, 0))
    assert to4(Packet.of(b"junk"), 1400) == Problem("malformed")


def test_too_long_for_ipv4_is_too_big() -> None:
    assert to4(in6(65_570), 65_535) == Problem("too_big", Error(2, 0, 65_555))


@pytest.mark.parametrize("size", [2_000, 10_000, 65_000])
def test_f3_large_pings_both_ways(size: int) -> None:
    store = Fragments()
    request = Packet.of(packets.echo(CLIENT, HOST6, bytes(size), ident=5))
    whole = [store.add(part, 0).whole for part in fragment_v6(request, 1420, 1)][-1]
    assert whole is not None
    sent = all_good(deliver_v4(whole, p(POOL), p(HOST), 900, 900, mtu=1500))
    at_host = [store.add(part, 0).whole for part in sent][-1]
    assert at_host is not None
    right(at_host)
    back = all_good(to6_echo(at_host))
    assert all(len(part.data) <= 1420 for part in back)
    at_client = [store.add(part, 0).whole for part in back][-1]
    assert at_client is not None
    right(at_client)
    assert at_client.data.endswith(bytes(size))


def to6_echo(packet: Packet) -> list[Packet] | Problem:
    return deliver_v6(packet, p(HOST6), p(CLIENT), 5, 5, mtu=1420)
