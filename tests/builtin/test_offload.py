"""The offload codec: partial checksums travel as they are, whole super-packets where there is room for them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnrs_core.builtin.offload import OffloadCodec
from vpnrs_core.counters import CORE_REASONS
from vpnrs_core.interfaces import Codec, PacketCodec
from vpnrs_core.packet.checks import well_formed
from vpnrs_core.packet.kinds import ALL_KINDS
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.packet.vnet import GSO_UDP_L4, NEEDS_CSUM, VNET_LENGTH, Vnet
from vpnrs_core.testkit.packets import ACK, PSH, echo, ip_packet, super_tcp, super_udp, tcp, udp

FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")
V6_OPTION = bytes.fromhex("1e0400000000")
FACTORY: PacketCodec = OffloadCodec()
IP = VNET_LENGTH


def codec(own: frozenset[str] = ALL_KINDS, peer: frozenset[str] = ALL_KINDS, lane: str = "datagram") -> Codec:
    return FACTORY.open(own, peer, lane)


def no_drop(reason: str) -> None:
    raise AssertionError(reason)


def assert_dropped(payload: bytes, lane: str = "datagram") -> None:
    dropped: list[str] = []
    assert codec(lane=lane).decode([payload], dropped.append) == []
    assert dropped == ["bad_offload"]


def partial_tcp(addresses: tuple[str, str] = FOUR, size: int = 500, **fields: object) -> Packet:
    return super_tcp(*addresses, random.Random(size).randbytes(size), 1400, **fields)  # type: ignore[arg-type]


def partial_udp(addresses: tuple[str, str] = FOUR, size: int = 500, seed: int = 0, **fields: object) -> Packet:
    return super_udp(*addresses, random.Random(seed).randbytes(size), 1400, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [partial_tcp, partial_udp])
@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
@pytest.mark.parametrize("size", [0, 1, 1300])
def test_a_partial_checksum_arrives_partial(make: Callable[..., Packet], addresses: tuple[str, str], size: int) -> None:
    packet = make(addresses, size)
    assert packet.needs_csum
    payloads = codec().encode(packet, len(packet.frame))
    assert payloads == [packet.frame]
    (received,) = codec().decode(payloads, no_drop)
    assert received.frame == packet.frame
    assert received.header == well_formed(packet.frame)
    assert codec().encode(packet, len(packet.frame) - 1) is None


def test_what_has_nothing_to_save_is_left_to_plain() -> None:
    assert codec().encode(Packet.of(tcp(*FOUR, b"x")), 1400) is None
    assert codec().encode(Packet.of(echo(*SIX)), 1400) is None
    assert codec().encode(super_tcp(*FOUR, bytes(300), 100), 1400) is None


def test_an_inner_checksum_is_left_to_plain() -> None:
    outer = bytes(4) + partial_tcp().data  # GRE
    vnet = Vnet(NEEDS_CSUM, 0, 64, 0, 44, 16)
    packet = Packet.of(ip_packet(*FOUR, 47, outer), vnet=vnet.pack())
    assert packet.header.protocol == 47
    assert codec().encode(packet, 1400) is None
    tunnelled = udp(*FOUR, bytes(8) + partial_tcp().data)
    packet = Packet.of(tunnelled, vnet=Vnet(NEEDS_CSUM, 0, 76, 0, 56, 16).pack())
    assert packet.header.protocol == 17
    assert codec().encode(packet, 1400) is None
    assert_dropped(packet.frame)


def test_flags_and_hints_of_a_kernel_do_not_travel() -> None:
    packet = partial_tcp()
    noisy = bytes((NEEDS_CSUM | 2 | 8, 0)) + (400).to_bytes(2, "little") + b"\7\7" + packet.frame[6:]
    assert codec().encode(Packet(noisy), 1400) == [packet.frame]
    assert [p.frame for p in codec().decode([noisy], no_drop)] == [packet.frame]
    finished = udp(*FOUR, b"x")
    noise = bytes((2, 0, 1, 2, 3, 4, 5, 6, 7, 8))  # a checksum that somebody has verified, and what no one reads
    assert [p.frame for p in codec().decode([noise + finished], no_drop)] == [bytes(VNET_LENGTH) + finished]


@pytest.mark.parametrize("make", [partial_tcp, partial_udp])
@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
def test_kinds_are_kept_to(make: Callable[..., Packet], addresses: tuple[str, str]) -> None:
    packet = make(addresses)
    kind = ("tcp" if make is partial_tcp else "udp") + ("4" if addresses is FOUR else "6")
    assert codec(peer=frozenset({kind})).encode(packet, 1400) == [packet.frame]
    assert codec(peer=ALL_KINDS - {kind}).encode(packet, 1400) is None
    (kept,) = codec(own=frozenset({kind})).decode([packet.frame], no_drop)
    assert kept.frame == packet.frame
    (finished,) = codec(own=ALL_KINDS - {kind}).decode([packet.frame], no_drop)
    assert finished.frame == bytes(VNET_LENGTH) + segment(packet)[0]


# The stream lane.

SUPERS = [
    super_tcp(*FOUR, bytes(50_000), 1400, flags=ACK | PSH),
    super_tcp(*SIX, bytes(2801), 1400, ip={"options": V6_OPTION}),
    super_udp(*SIX, bytes(50_000), 1400),
    super_tcp(*FOUR, bytes(65_535 - 40), 1400),
]


@pytest.mark.parametrize("packet", SUPERS, ids=repr)
def test_a_stream_carries_super_packets_whole(packet: Packet) -> None:
    payloads = codec(lane="stream").encode(packet, 65_599)
    assert payloads == [packet.frame]
    (received,) = codec(lane="stream").decode(payloads, no_drop)
    assert received.frame == packet.frame
    assert received.header == well_formed(packet.frame)
    assert_dropped(payloads[0], lane="datagram")
    assert codec(lane="stream").encode(packet, len(packet.frame) - 1) is None
    assert codec(lane="stream", peer=frozenset()).encode(packet, 65_599) is None
    complete = codec(lane="stream", own=frozenset()).decode(payloads, no_drop)
    assert [p.data for p in complete] == segment(packet)


def test_a_stream_has_the_same_limits_of_segments() -> None:
    packet = super_tcp(*FOUR, bytes(742 * 88), 88)
    assert_dropped(packet.frame, "stream")
    payloads = codec(lane="stream").encode(packet, 65_599)
    assert payloads is not None
    received = codec(lane="stream").decode(payloads, no_drop)
    assert [p.segments for p in received] == [248, 248, 246]
    assert [ip for p in received for ip in segment(p)] == segment(packet)


# Joining.


def flow(count: int, size: int, addresses: tuple[str, str] = FOUR, last: int | None = None) -> list[Packet]:
    return [
        partial_udp(
            addresses, last if last is not None and i == count - 1 else size, i,
            ip={"identification": (0xFFFD + i) % 65536} if addresses is FOUR else {},
        )
        for i in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
@pytest.mark.parametrize("last", [1200, 1, 777])
def test_datagrams_of_a_flow_are_joined_without_a_sum(addresses: tuple[str, str], last: int) -> None:
    parts = flow(30, 1200, addresses, last)
    (joined,) = codec().decode([p.frame for p in parts], no_drop)
    assert (joined.gso_type, joined.gso_size, joined.segments) == (GSO_UDP_L4, 1200, 30)
    well_formed(joined.frame)
    assert segment(joined) == [ip for p in parts for ip in segment(p)]


def test_tcp_segments_are_joined_too() -> None:
    parts = [partial_tcp(size=1000, seq=1 + 1000 * i, ip={"identification": i}) for i in range(4)]
    parts.append(partial_tcp(size=7, seq=4001, flags=ACK | PSH, ip={"identification": 4}))
    (joined,) = codec().decode([p.frame for p in parts], no_drop)
    assert joined.segments == 5
    assert segment(joined) == [ip for p in parts for ip in segment(p)]


@pytest.mark.parametrize("make", [partial_tcp, partial_udp])
def test_a_wrong_pseudo_header_sum_stays_wrong_and_alone(make: Callable[..., Packet]) -> None:
    fields = [{"seq": 1 + 1000 * i} if make is partial_tcp else {} for i in range(4)]
    parts = [make(size=1000, **fields[i], ip={"identification": i}).frame for i in range(4)]
    field = IP + 20 + (16 if make is partial_tcp else 6)
    parts[2] = parts[2][:field] + bytes((parts[2][field] ^ 1,)) + parts[2][field + 1 :]
    received = codec().decode(parts, no_drop)
    assert [p.segments for p in received] == [2, 1, 1]
    assert [ip for p in received for ip in segment(p)] == [ip for f in parts for ip in segment(Packet(f))]


def test_partial_and_finished_checksums_do_not_mix() -> None:
    first, second, third = flow(3, 500)
    finished = bytes(VNET_LENGTH) + segment(second)[0]
    assert [p.segments for p in codec().decode([first.frame, finished, third.frame], no_drop)] == [1, 1, 1]


def test_only_kinds_of_the_own_tun_are_joined() -> None:
    frames = [p.frame for p in flow(3, 500)]
    assert len(codec(own=frozenset({"udp4"})).decode(frames, no_drop)) == 1
    assert len(codec(own=frozenset({"udp6", "tcp4"})).decode(frames, no_drop)) == 3


# What a peer may not send.


def at(offset: int, *values: int) -> Callable[[bytes], bytes]:
    return lambda payload: payload[:offset] + bytes(values) + payload[offset + len(values) :]


@pytest.mark.parametrize(
    ("packet", "change"),
    [
        pytest.param(*rest, id=name)
        for name, *rest in (
            ("gso_type in a datagram", partial_tcp(), at(1, 1)),
            ("ECN bit alone", partial_tcp(), at(1, 0x80)),
            ("csum_start at the ports", partial_tcp(), at(6, 4)),
            ("csum_start one less", partial_udp(), at(6, 19)),
            ("csum_start in the payload", partial_tcp(), at(6, 60)),
            ("csum_offset of UDP in TCP", partial_tcp(), at(8, 6)),
            ("csum_offset of TCP in UDP", partial_udp(), at(8, 16)),
            ("csum_offset far away", partial_udp(), at(8, 6, 1)),
            ("ICMP", partial_udp(), at(IP + 9, 1)),
            ("a first fragment", partial_udp(), at(IP + 6, 0x20, 0)),
            ("a later fragment", partial_udp(), at(IP + 6, 0, 9)),
            ("total length", partial_tcp(), at(IP + 2, 0, 99)),
            ("jumbogram", partial_tcp(SIX), at(IP + 4, 0, 0)),
            ("TCP header length", partial_tcp(), at(IP + 32, 0x10)),
            ("UDP length", partial_udp(SIX), at(IP + 44, 0xFF)),
            ("an extension header instead", partial_tcp(SIX), at(IP + 6, 60)),
            ("vnet header alone", partial_tcp(), lambda payload: payload[:VNET_LENGTH]),
            ("half a vnet header", partial_tcp(), lambda payload: payload[:5]),
            ("nothing", partial_tcp(), lambda payload: b""),
            ("a byte more", partial_tcp(), lambda payload: payload + b"x"),
        )
    ],
)
def test_a_payload_that_breaks_a_rule_is_dropped_alone(packet: Packet, change: Callable[[bytes], bytes]) -> None:
    assert_dropped(change(packet.frame))
    dropped: list[str] = []
    good = udp(*SIX, b"good")
    payloads = [packet.frame, change(packet.frame), bytes(VNET_LENGTH) + good]
    assert [p.data for p in codec().decode(payloads, dropped.append)] == [packet.data, good]
    assert dropped == ["bad_offload"]
    assert "bad_offload" in CORE_REASONS


@pytest.mark.parametrize(
    ("packet", "change"),
    [
        pytest.param(*rest, id=name)
        for name, *rest in (
            ("no partial checksum", SUPERS[0], at(0, 0)),
            ("gso_size 0", SUPERS[0], at(4, 0, 0)),
            ("one segment", SUPERS[1], at(4, 0xFF, 0xFF)),
            ("IPv6 over IPv4", SUPERS[0], at(1, 4)),
            ("ECN bit with UDP", SUPERS[2], at(1, 0x85)),
            ("too many UDP segments", SUPERS[2], at(4, 100, 0)),
            ("too many TCP segments", SUPERS[0], at(4, 100, 0)),
            ("UDP length of one segment", SUPERS[2], at(IP + 44, 0x05, 0x80)),
            ("csum_start in an extension header", SUPERS[1], at(6, 40)),
        )
    ],
)
def test_a_whole_super_packet_follows_the_rules_of_segments(packet: Packet, change: Callable[[bytes], bytes]) -> None:
    assert change(packet.frame) != packet.frame
    assert_dropped(change(packet.frame), "stream")


VALID = [p.frame for p in (partial_tcp(), partial_udp(), partial_tcp(SIX), partial_udp(SIX), SUPERS[1])]
VALID += [bytes(VNET_LENGTH) + udp(*FOUR, b"x"), *(p.frame for p in flow(3, 100))]


def mutated(payload: bytes, changes: list[tuple[int, int]], cut_off: int) -> bytes:
    new = bytearray(payload)
    for offset, value in changes:
        new[offset % min(len(new), 90)] = value
    return bytes(new[:cut_off]) if cut_off < 120 else bytes(new)


MUTATED = st.builds(
    mutated, st.sampled_from(VALID), st.lists(st.tuples(st.integers(0, 89), st.integers(0, 255)), max_size=3),
    st.integers(0, 400),
)  # fmt: skip


def segments_of(packets: Sequence[Packet]) -> int:
    return sum(packet.segments for packet in packets)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.one_of(MUTATED, st.sampled_from(VALID), st.binary(max_size=120)), max_size=6),
    st.sampled_from(["datagram", "stream"]),
)
def test_nothing_that_a_peer_sends_does_more_than_count(payloads: list[bytes], lane: str) -> None:
    dropped: list[str] = []
    received = codec(lane=lane).decode(payloads, dropped.append)
    assert set(dropped) <= {"bad_offload"}
    if lane == "datagram":
        assert segments_of(received) + len(dropped) == len(payloads)
    for packet in received:
        well_formed(packet.frame)
        assert packet.frame[0] in (0, NEEDS_CSUM)
        assert len(segment(packet)) == packet.segments
    complete = codec(own=frozenset(), lane=lane).decode(payloads, lambda reason: None)
    assert len(complete) == segments_of(received)
    assert not any(packet.frame[0] or packet.frame[1] for packet in complete)
