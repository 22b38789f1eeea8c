"""The fragment store: any order, bounds, time, overlaps; and fragments of our own."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nat64_kit import CLIENT, HOST, HOST6, POOL, parse, right
from scapy.all import (  # type: ignore[attr-defined]
    IP,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    PadN,
    Raw,
    fragment6,
    raw,
)
from vpnrs_nat64.translate.fragments import Added, Fragments, fragment_v6
from vpnrs_nat64.translate.tuples import Kind, kind

from vpnrs_core.packet.fragment import fragment
from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit import packets


def pieces4(size: int, ident: int = 7, mtu: int = 576, src: str = HOST) -> list[Packet]:
    data = bytes(index * 7 % 256 for index in range(size))
    whole = packets.udp(src, POOL, data, ip={"identification": ident, "dont_fragment": False})
    return [Packet.of(ip) for ip in fragment(whole, mtu)]


def pieces6(size: int, ident: int = 0x12345678, mtu: int = 1280) -> list[Packet]:
    whole = packets.udp(CLIENT, HOST6, bytes(index * 7 % 256 for index in range(size)))
    return fragment_v6(Packet.of(whole), mtu, ident)


def fed(store: Fragments, parts: list[Packet], now: float = 0.0) -> list[Added]:
    return [store.add(part, now) for part in parts]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from((4, 6)), st.integers(600, 20_000), st.integers(68, 2000), st.randoms())
def test_f1_any_order_makes_the_packet_whole(version: int, size: int, mtu: int, order: random.Random) -> None:
    parts = pieces4(size, mtu=mtu) if version == 4 else pieces6(size, mtu=max(mtu, 560) if size < 10_000 else 1280)
    store = Fragments(max_parts=1000)
    if len(parts) == 1:
        return
    shuffled = parts.copy()
    order.shuffle(shuffled)
    results = fed(store, shuffled)
    assert all(result == Added() for result in results[:-1])
    whole = results[-1].whole
    assert whole is not None
    assert sorted(map(id, results[-1].parts)) == sorted(map(id, parts))
    right(whole)
    assert (len(store), store.bytes) == (0, 0)
    if version == 4:
        assert whole.data[20:] == packets.udp(HOST, POOL, bytes(index * 7 % 256 for index in range(size)))[20:]
    else:
        atomic = parse(whole)[IPv6ExtHdrFragment]
        assert (atomic.id, atomic.m, atomic.offset) == (0x12345678, 0, 0)
        assert kind(whole) is Kind.UDP


def test_unfragmentable_part_stays_before_the_fragment_header() -> None:
    packet = IPv6(src=CLIENT, dst=HOST6) / IPv6ExtHdrDestOpt(options=PadN(optdata=bytes(4)))
    packet = packet / IPv6ExtHdrFragment(id=9) / Raw(packets.udp(CLIENT, HOST6, bytes(3000))[40:])
    packet[IPv6ExtHdrFragment].nh = 17
    parts = [Packet.of(raw(part)) for part in fragment6(packet, 1280)]
    assert len(parts) == 3
    whole = fed(Fragments(), parts)[-1].whole
    assert whole is not None
    assert right(whole)[IPv6ExtHdrDestOpt].nh == 44


def test_fragments_of_another_packet_do_not_mix() -> None:
    store = Fragments()
    one, other = pieces4(1000, ident=1), pieces4(1000, ident=2)
    third = [Packet.of(part.data[:9] + b"\x06" + part.data[10:]) for part in pieces4(1000, ident=1)]
    assert store.add(one[0], 0).whole is None
    assert store.add(other[1], 0).whole is None
    assert store.add(third[1], 0).dropped[0][1] == "ipv4_checksum"
    assert store.add(one[1], 0).whole is not None


def test_f1_time_is_at_least_two_seconds() -> None:
    with pytest.raises(ValueError, match="2 seconds"):
        Fragments(lifetime=1.9)
    store = Fragments(lifetime=2)
    parts = pieces4(1000)
    assert store.next_expiry() is None
    store.add(parts[1], 10)
    store.add(pieces6(3000)[0], 11)
    assert store.next_expiry() == 12
    assert store.expire(11.99) == []
    (gone,) = store.expire(12)
    assert gone.parts == (parts[1],)
    assert gone.first is None
    assert store.next_expiry() == 13
    (gone,) = store.expire(20)
    assert gone.first is gone.parts[0]
    assert (len(store), store.bytes) == (0, 0)


def test_overlap_drops_the_set_and_what_comes_after_it() -> None:
    for moved in (-1, 1):
        store = Fragments()
        parts = pieces6(4000)
        middle = parts[1].data
        field = int.from_bytes(middle[42:44], "big") + moved * 8
        overlapping = Packet.of(middle[:42] + field.to_bytes(2, "big") + middle[44:])
        fed(store, [parts[0], parts[2]])
        result = store.add(overlapping, 0)
        assert {packet for packet, _ in result.dropped} == {parts[0], parts[2], overlapping}
        assert {reason for _, reason in result.dropped} == {"fragment_overlap"}
        assert store.add(parts[1], 1).dropped == ((parts[1], "fragment_overlap"),)
        assert store.bytes == 0
        assert store.expire(10) == []
        assert len(store) == 0


def test_duplicate_is_dropped_alone() -> None:
    store = Fragments()
    parts = pieces4(1400)
    store.add(parts[0], 0)
    again = Packet(parts[0].frame)
    assert store.add(again, 0).dropped == ((again, "fragment_duplicate"),)
    assert fed(store, parts[1:])[-1].whole is not None


def test_a_second_end_and_data_behind_the_end_contradict() -> None:
    def piece(offset: int, more: int, size: int) -> Packet:
        return Packet.of(
            raw(IPv6(src=CLIENT, dst=HOST6) / IPv6ExtHdrFragment(nh=17, id=1, offset=offset, m=more) / Raw(bytes(size)))
        )

    for one, two in (((10, 0, 8), (20, 0, 8)), ((10, 0, 8), (20, 1, 8)), ((20, 1, 8), (10, 0, 8))):
        store = Fragments()
        assert store.add(piece(*one), 0) == Added()
        assert len(store.add(piece(*two), 0).dropped) == 2


def test_bounds_cost_the_oldest_its_place() -> None:
    store = Fragments(max_sets=3)
    firsts = [pieces4(1000, ident=ident, src=f"8.8.8.{ident}")[0] for ident in range(1, 5)]
    results = fed(store, firsts)
    assert results[3].dropped == ((firsts[0], "fragment_limit"),)
    assert len(store) == 3
    store = Fragments(max_sets_of_source=2)
    firsts = [pieces4(1000, ident=ident)[0] for ident in range(1, 4)]
    other = pieces4(1000, ident=1, src="1.1.1.1")[0]
    store.add(other, 0)
    assert fed(store, firsts)[2].dropped == ((firsts[0], "fragment_limit"),)
    assert len(store) == 3


def test_bytes_and_parts_are_bounded() -> None:
    store = Fragments(max_bytes=140_000, max_sets=1000, max_sets_of_source=1000)
    held: set[int] = set()
    for ident in range(300):
        part = pieces4(1300, ident=ident, mtu=1000)[0]
        result = store.add(part, ident / 100)
        held.add(id(part))
        held -= {id(packet) for packet, _ in result.dropped}
        assert store.bytes <= 140_000
        assert len(held) == len(store)
    store = Fragments(max_parts=4)
    parts = pieces4(1400, mtu=100)
    result = fed(store, parts[:5])[4]
    assert {packet for packet, _ in result.dropped} == set(parts[:5])
    with pytest.raises(ValueError, match="131,070"):
        Fragments(max_bytes=10_000)


@pytest.mark.parametrize("bounds", [{"max_sets": 4}, {"max_bytes": 140_000, "max_sets": 1000}])
def test_a_flood_from_one_family_takes_nothing_of_the_other_half(bounds: dict[str, int]) -> None:
    store = Fragments(**bounds)
    parts = pieces6(3000)
    fed(store, parts[:1])
    lost: list[Packet] = []
    for ident in range(300):
        part = pieces4(1300, ident=ident, mtu=1000, src=f"8.8.8.{ident % 250}")[0]
        lost += [packet for packet, _ in store.add(part, 0).dropped]
    assert len(lost) > 100
    assert parts[0] not in lost
    assert fed(store, parts[1:])[-1].whole is not None


@pytest.mark.parametrize("bounds", [{"max_sets": 8}, {"max_bytes": 140_000, "max_sets": 1000}])
def test_a_flood_from_one_client_costs_the_others_nothing(bounds: dict[str, int]) -> None:
    """Whatever addresses it has."""
    store = Fragments(**bounds)
    flood, good = object(), object()
    parts = [part.with_session(good) for part in pieces6(3000)]  # type: ignore[arg-type]
    fed(store, parts[:1])
    lost: list[Packet] = []
    for ident in range(300):
        data = raw(
            IPv6(src=f"fd00::{ident:x}:1", dst=HOST6) / IPv6ExtHdrFragment(nh=17, id=ident, m=1) / Raw(bytes(1200))
        )
        lost += [packet for packet, _ in store.add(Packet.of(data, flood), 0).dropped]  # type: ignore[arg-type]
    assert len(lost) > 100
    assert parts[0] not in lost
    assert fed(store, parts[1:])[-1].whole is not None


def test_the_largest_fragment_finds_room_in_the_smallest_store() -> None:
    store = Fragments(max_bytes=131_070)
    store.add(Packet.of(raw(IP(src=HOST, dst=POOL, proto=17, flags="MF") / Raw(bytes(65512)))), 0)
    store.add(Packet.of(raw(IP(src=HOST, dst=POOL, proto=17, flags="MF", id=9) / Raw(bytes(1000)))), 0)
    largest = Packet.of(raw(IPv6(src=CLIENT, dst=HOST6) / IPv6ExtHdrFragment(nh=17, m=1) / Raw(bytes(65520))))
    assert [reason for _, reason in store.add(largest, 0).dropped] == ["fragment_limit"]
    assert store.bytes == largest.ip_bytes + 1020


def test_headers_count_as_held() -> None:
    store = Fragments()
    part = pieces6(1400, mtu=104)[0]
    store.add(part, 0)
    assert store.bytes == part.ip_bytes


def test_sets_can_be_taken_out_by_packet_and_by_session() -> None:
    store = Fragments()
    session: object = object()
    parts = [part.with_session(session) for part in pieces6(4000)]  # type: ignore[arg-type]
    others = pieces4(1000)
    fed(store, [*parts[:2], others[0]])
    assert store.discard(parts[0]) == [parts[1]]
    fed(store, parts[:2])
    assert store.forget(session) == parts[:2]  # type: ignore[arg-type]
    assert len(store) == 1
    assert store.add(others[1], 0).whole is not None


def test_what_makes_no_sound_packet_is_dropped() -> None:
    store = Fragments()
    tiny = [
        Packet.of(raw(IPv6(src=CLIENT, dst=HOST6) / IPv6ExtHdrFragment(nh=17, id=1, offset=o, m=m) / Raw(bytes(8))))
        for o, m in ((0, 1), (1, 0))
    ]
    assert fed(store, tiny)[1].dropped == ((tiny[0], "malformed"), (tiny[1], "malformed"))
    whole = Packet.of(packets.udp(HOST, POOL))
    assert store.add(whole, 0).dropped == ((whole, "fragment"),)
    empty = Packet.of(raw(IP(src=HOST, dst=POOL, flags="MF")))
    assert store.add(empty, 0).dropped == ((empty, "malformed"),)
    # A ping of death: the last piece ends beyond 65,535 bytes with the header.
    first = Packet.of(raw(IP(src=HOST, dst=POOL, proto=17, flags="MF", id=9) / Raw(bytes(65512))))
    last = Packet.of(raw(IP(src=HOST, dst=POOL, proto=17, frag=8189, id=9) / Raw(bytes(20))))
    assert len(fed(store, [first, last])[1].dropped) == 2


def test_congestion_experienced_survives_reassembly() -> None:
    parts = pieces4(1000)
    marked = bytearray(parts[1].data)
    marked[1] = 3
    marked[10:12] = b"\0\0"
    fixed = Packet.of(raw(IP(bytes(marked[:20]), chksum=None)) + bytes(marked[20:]))
    fixed = Packet.of(raw(_without_checksum(fixed)))
    whole = fed(Fragments(), [parts[0], fixed])[1].whole
    assert whole is not None
    assert parse(whole).tos == 3


def _without_checksum(packet: Packet) -> IP:
    parsed = parse(packet)
    del parsed.chksum
    return parsed


@pytest.mark.parametrize(("mtu", "payload"), [(1280, 1232), (1402, 1352)])
def test_m4_payload_of_our_fragments(mtu: int, payload: int) -> None:
    parts = pieces6(5000, mtu=mtu)
    assert [len(part.data) - 48 for part in parts[:-1]] == [payload] * (len(parts) - 1)
    assert all(len(part.data) <= mtu for part in parts)
    assert {parse(part)[IPv6ExtHdrFragment].id for part in parts} == {0x12345678}


def test_fragments_may_be_fragmented_again() -> None:
    parts = [again for part in pieces6(5000, mtu=1500) for again in fragment_v6(part, 1280, 1)]
    assert fed(Fragments(), parts)[-1].whole is not None


def test_no_room_for_a_fragment_is_an_error() -> None:
    with pytest.raises(ValueError, match="no room"):
        fragment_v6(Packet.of(packets.udp(CLIENT, HOST6, bytes(100))), 55, 1)
