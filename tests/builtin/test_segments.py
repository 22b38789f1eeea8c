"""The segments codec: whatever arrives, in whatever order, is the same segments; what breaks a rule is counted."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnrs_core.builtin.segments import SegmentsCodec
from vpnrs_core.counters import CORE_REASONS
from vpnrs_core.interfaces import Codec, PacketCodec
from vpnrs_core.packet.checks import well_formed
from vpnrs_core.packet.kinds import ALL_KINDS
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.packet.vnet import GSO_ECN, NEEDS_CSUM, VNET, VNET_LENGTH
from vpnrs_core.testkit.packets import ACK, CWR, ECE, FIN, PSH, super_tcp, super_udp, tcp

FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")
TIMESTAMPS = bytes.fromhex("0101080a0000123400005678")
SACK = bytes.fromhex("0101050a0000100000002000")
V6_OPTION = bytes.fromhex("1e0400000000")
FACTORY: PacketCodec = SegmentsCodec()
IP = 1 + VNET_LENGTH


def codec(own: frozenset[str] = ALL_KINDS, peer: frozenset[str] = ALL_KINDS) -> Codec:
    return FACTORY.open(own, peer)


def encode(packet: Packet) -> list[bytes]:
    payloads = codec().encode(packet, 70_000)
    assert payloads is not None
    return payloads


def no_drop(reason: str) -> None:
    raise AssertionError(reason)


def decode(payloads: Sequence[bytes]) -> list[Packet]:
    return codec().decode(payloads, no_drop)


def congested(packet: Packet) -> Packet:
    """The packet with the ECN bit that a kernel sets together with CWR."""
    return Packet(packet.frame[:1] + bytes((packet.frame[1] | GSO_ECN,)) + packet.frame[2:])


def on_a_wire(packets: Sequence[Packet]) -> list[bytes]:
    """Their segments. A TCP checksum of zero is written as 0xFFFF in a lone packet and as 0 in a super-packet's
    segment, by the kernel as by us; that is one number."""
    finished = []
    for packet in packets:
        at = packet.l4_offset + 16
        for ip in segment(packet):
            mangled = packet.protocol == 6 and ip[at : at + 2] == b"\xff\xff"
            finished.append(ip[:at] + b"\0\0" + ip[at + 2 :] if mangled else ip)
    return finished


def build_tcp(
    addresses: tuple[str, str], count: int, size: int, rest: int, flags: int, options: bytes, seq: int, number: int,
    dont_fragment: bool, extended: bool, seed: int,
) -> Packet:  # fmt: skip
    ip: dict[str, object] = {"identification": number, "dont_fragment": dont_fragment}
    if addresses is SIX:
        ip = {"options": V6_OPTION} if extended else {}
    payload = random.Random(seed).randbytes(count * size + min(rest, size - 1) + (rest == 0 and count == 1))
    packet = super_tcp(*addresses, payload, size, flags=flags, options=options, seq=seq, ip=ip)
    return congested(packet) if flags & CWR else packet


def build_udp(addresses: tuple[str, str], count: int, size: int, rest: int, extended: bool, seed: int) -> Packet:
    ip: dict[str, object] = {"options": V6_OPTION} if extended and addresses is SIX else {}
    payload = random.Random(seed).randbytes(count * size + min(rest, size - 1) + (rest == 0 and count == 1))
    return super_udp(*addresses, payload, size, ip=ip)


COUNTS, SIZES = st.integers(1, 9), st.integers(2, 1400)
FLAGS = [ACK, ACK | PSH, ACK | FIN | PSH, ACK | ECE | CWR, ACK | CWR | PSH | FIN]
SUPER = st.one_of(
    st.builds(
        build_tcp, st.sampled_from([FOUR, SIX]), COUNTS, SIZES, st.integers(0, 1400), st.sampled_from(FLAGS),
        st.sampled_from([b"", TIMESTAMPS, SACK, TIMESTAMPS + SACK]), st.integers(2**32 - 5000, 2**32 - 1),
        st.integers(0xFFF8, 0xFFFF), st.booleans(), st.booleans(), st.integers(0, 99),
    ),
    st.builds(build_udp, st.sampled_from([FOUR, SIX]), COUNTS, SIZES, st.integers(0, 1400), st.booleans(),
              st.integers(0, 99)),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(SUPER)
def test_what_was_cut_is_joined_into_the_same(packet: Packet) -> None:
    assert packet.segments >= 2
    payloads = encode(packet)
    assert len(payloads) == packet.segments
    (joined,) = decode(payloads)
    assert joined.frame == packet.frame
    assert joined.header == well_formed(packet.frame)


@settings(max_examples=250, deadline=None)
@given(SUPER, st.data())
def test_any_subset_in_any_order_becomes_the_same_segments(packet: Packet, data: st.DataObject) -> None:
    payloads, whole = encode(packet), on_a_wire([packet])
    order = data.draw(st.lists(st.integers(0, len(payloads) - 1), max_size=14))
    received = decode([payloads[index] for index in order])
    assert on_a_wire(received) == [whole[index] for index in order]
    assert len(received) <= len(order)
    for part in received:
        well_formed(part.frame)


@pytest.mark.parametrize(
    "packet",
    [
        build_tcp(FOUR, 3, 700, 9, ACK | CWR | PSH | FIN, TIMESTAMPS, 2**32 - 900, 0xFFFE, False, False, 1),
        build_tcp(SIX, 3, 700, 0, ACK | PSH, SACK, 5, 0, True, True, 2),
        build_udp(FOUR, 3, 700, 9, False, 3),
    ],
    ids=["tcp4", "tcp6", "udp4"],
)
def test_all_permutations_of_a_few_segments(packet: Packet) -> None:
    payloads, whole = encode(packet), on_a_wire([packet])
    for count in range(1, len(payloads) + 1):
        for order in permutations(range(len(payloads)), count):
            assert on_a_wire(decode([payloads[index] for index in order])) == [whole[index] for index in order]


def test_runs_are_as_long_as_the_indexes_follow() -> None:
    packet = super_tcp(*FOUR, bytes(9 * 100 + 1), 100)
    payloads = encode(packet)
    order = [0, 1, 2, 4, 5, 5, 6, 8, 7, 9, 0, 1]
    assert [p.segments for p in decode([payloads[i] for i in order])] == [3, 2, 2, 1, 1, 1, 2]


def test_super_packets_of_two_flows_stay_apart() -> None:
    one, two = (super_tcp(*FOUR, bytes(500), 100, sport=port) for port in (1, 2))
    mixed = [payload for pair in zip(encode(one), encode(two), strict=True) for payload in pair]
    assert [p.segments for p in decode(mixed)] == [1] * 10
    assert [p.frame for p in decode(encode(one) + encode(two))] == [one.frame, two.frame]


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
@pytest.mark.parametrize("count", [256, 257, 512, 513, 742])
def test_more_segments_than_an_index_counts_become_several_super_packets(
    addresses: tuple[str, str], count: int
) -> None:
    packet = super_tcp(*addresses, random.Random(count).randbytes(count * 88 - 3), 88, flags=ACK | PSH | FIN)
    assert packet.segments == count
    payloads = encode(packet)
    assert len(payloads) == count
    parts = decode(payloads)
    assert len(parts) == -(-count // 256)
    assert all(2 <= part.segments <= 256 for part in parts)
    assert on_a_wire(parts) == on_a_wire([packet])


def test_udp_has_128_segments_at_most() -> None:
    packet = super_udp(*FOUR, bytes(128 * 100), 100)
    assert [p.frame for p in decode(encode(packet))] == [packet.frame]
    payload = bytearray(encode(super_udp(*FOUR, bytes(10_000), 5000))[1])
    VNET.pack_into(payload, 1, NEEDS_CSUM, 5, 28, 78, 20, 6)  # 129 segments of 78 bytes
    assert_dropped(bytes(payload[: IP + 28 + 78]))


def test_flags_and_hints_of_a_kernel_do_not_travel() -> None:
    packet = super_tcp(*FOUR, bytes(3000), 1000)
    noisy = bytearray(packet.frame)
    noisy[0] |= 2 | 8
    noisy[2:4] = (1040).to_bytes(2, "little")  # the hint may cover payload
    assert encode(Packet(bytes(noisy))) == encode(packet)
    received = [p[:1] + bytes(noisy[:VNET_LENGTH]) + p[IP:] for p in encode(packet)]
    assert [p.frame for p in decode(received)] == [packet.frame]
    assert decode(received[1:])[0].frame == decode(encode(packet)[1:])[0].frame


def test_what_is_no_super_packet_or_does_not_fit_is_left_to_others() -> None:
    packet = super_tcp(*FOUR, bytes(2000), 1000, options=TIMESTAMPS)
    largest = 1 + VNET_LENGTH + 20 + 32 + 1000
    assert max(map(len, codec().encode(packet, largest) or [])) == largest
    assert codec().encode(packet, largest - 1) is None
    assert codec().encode(super_tcp(*FOUR, bytes(1000), 1000), 2000) is None
    assert codec().encode(Packet.of(tcp(*FOUR, bytes(1000))), 2000) is None


@pytest.mark.parametrize("make", [super_tcp, super_udp])
@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
def test_only_kinds_that_the_peer_accepts_are_sent(make: Callable[..., Packet], addresses: tuple[str, str]) -> None:
    packet = make(*addresses, bytes(3000), 1000)
    kind = ("tcp" if make is super_tcp else "udp") + ("4" if addresses is FOUR else "6")
    assert codec(peer=frozenset({kind})).encode(packet, 2000) is not None
    assert codec(peer=ALL_KINDS - {kind}).encode(packet, 2000) is None


@pytest.mark.parametrize("make", [super_tcp, super_udp])
@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
def test_what_the_own_tun_lacks_is_segmented_before(make: Callable[..., Packet], addresses: tuple[str, str]) -> None:
    packet = make(*addresses, random.Random(4).randbytes(3500), 1000)
    kind = ("tcp" if make is super_tcp else "udp") + ("4" if addresses is FOUR else "6")
    (whole,) = codec(own=frozenset({kind})).decode(encode(packet), no_drop)
    assert whole.frame == packet.frame
    for order in ([0, 1, 2, 3], [1, 2], [3]):
        received = codec(own=ALL_KINDS - {kind}).decode([encode(packet)[i] for i in order], no_drop)
        assert [p.data for p in received] == [segment(packet)[i] for i in order]
        assert not any(p.needs_csum or p.gso_type for p in received)


# What a peer may not send.

TCP4, TCP6 = super_tcp(*FOUR, bytes(2500), 1000), super_tcp(*SIX, bytes(2500), 1000)
UDP4, UDP6 = super_udp(*FOUR, bytes(2500), 1000), super_udp(*SIX, bytes(2500), 1000)
EXTENDED = super_tcp(*SIX, bytes(2500), 1000, ip={"options": V6_OPTION})


def at(offset: int, *values: int) -> Callable[[bytes], bytes]:
    return lambda payload: payload[:offset] + bytes(values) + payload[offset + len(values) :]


VNET_FIELDS: list[tuple[str, Packet, Callable[[bytes], bytes]]] = [
    ("index beyond the last", TCP4, at(0, 3)),
    ("no partial checksum", TCP4, at(1, 0)),
    ("gso_type none", TCP4, at(2, 0)),
    ("gso_type ECN alone", TCP4, at(2, 0x80)),
    ("gso_type of UDP fragmentation", UDP4, at(2, 3)),
    ("gso_type of IPv6 over IPv4", TCP4, at(2, 4)),
    ("gso_type of IPv4 over IPv6", TCP6, at(2, 1)),
    ("gso_type of UDP over TCP", TCP4, at(2, 5)),
    ("gso_type of TCP over UDP", UDP6, at(2, 4)),
    ("ECN bit with UDP", UDP4, at(2, 0x85)),
    ("gso_size 0", TCP4, at(5, 0, 0)),
    ("gso_size of the whole", TCP4, at(5, 0xC4, 0x09)),
    ("gso_size of another segment count", TCP4, at(5, 0xE7, 0x03)),
    ("csum_start at the ports", TCP4, at(7, 4)),
    ("csum_start in the payload", TCP6, at(7, 60)),
    ("csum_start before an extension header's end", EXTENDED, at(7, 40)),
    ("csum_offset of UDP in TCP", TCP4, at(9, 6)),
    ("csum_offset of TCP in UDP", UDP4, at(9, 16)),
    ("csum_offset far away", TCP4, at(9, 16, 1)),
]
IP_FIELDS: list[tuple[str, Packet, Callable[[bytes], bytes]]] = [
    ("version 5", TCP4, at(IP, 0x55)),
    ("version 6 in an IPv4 header", TCP4, at(IP, 0x65)),
    ("IPv4 header length", TCP4, at(IP, 0x44)),
    ("IPv4 total length", TCP4, at(IP + 2, 0, 60)),
    ("IPv4 total length below the header", TCP4, at(IP + 2, 0, 10)),
    ("more fragments", TCP4, at(IP + 6, 0x20, 0)),
    ("fragment offset", TCP4, at(IP + 6, 0, 1)),
    ("another protocol", TCP4, at(IP + 9, 1)),
    ("TCP header length", TCP4, at(IP + 32, 0x40)),
    ("TCP options beyond the payload", super_tcp(*FOUR, bytes(50), 20), at(IP + 32, 0xF0)),
    ("jumbogram", TCP6, at(IP + 4, 0, 0)),
    ("fragment header", EXTENDED, at(IP + 6, 44)),
    ("extension header beyond the end", EXTENDED, at(IP + 41, 200)),
    ("UDP length", UDP4, at(IP + 24, 0x09, 0xCB)),
    ("UDP length of one segment", UDP4, at(IP + 24, 0x03, 0xF0)),
    ("a byte less", TCP4, lambda payload: payload[:-1]),
    ("a byte more", TCP4, lambda payload: payload + b"x"),
    ("no payload", TCP4, lambda payload: payload[: IP + 40]),
    ("half a header", TCP6, lambda payload: payload[: IP + 50]),
    ("an index alone", TCP4, lambda payload: payload[:1]),
    ("nothing", TCP4, lambda payload: b""),
]


def assert_dropped(payload: bytes) -> None:
    dropped: list[str] = []
    assert codec().decode([payload], dropped.append) == []
    assert dropped == ["bad_offload"]


def test_the_reason_is_the_cores() -> None:
    assert "bad_offload" in CORE_REASONS


@pytest.mark.parametrize(
    ("packet", "change"), [pytest.param(*rest, id=name) for name, *rest in VNET_FIELDS + IP_FIELDS]
)
def test_a_payload_that_breaks_a_rule_is_dropped_alone(packet: Packet, change: Callable[[bytes], bytes]) -> None:
    payloads, whole = encode(packet), segment(packet)
    assert len(payloads) == 3
    for index in range(3):
        assert_dropped(change(payloads[index]))
        mixed = [change(payload) if i == index else payload for i, payload in enumerate(payloads)]
        dropped: list[str] = []
        received = codec().decode(mixed, dropped.append)
        assert dropped == ["bad_offload"]
        assert on_a_wire(received) == [ip for i, ip in enumerate(whole) if i != index]


def test_a_last_segment_has_exactly_the_remainder() -> None:
    payloads = encode(TCP4)
    for wrong in (payloads[2] + b"x", payloads[2][:-1], payloads[2] + bytes(500)):
        dropped: list[str] = []
        assert [p.segments for p in codec().decode([*payloads[:2], wrong], dropped.append)] == [2]
        assert dropped == ["bad_offload"]


def test_257_segments_cannot_be_claimed() -> None:
    packet = super_tcp(*FOUR, bytes(257 * 10), 10)
    head = packet.frame[: VNET_LENGTH + 40]
    assert_dropped(b"\0" + head + bytes(10))


def test_header_bytes_that_differ_part_a_run() -> None:
    payloads = encode(super_tcp(*FOUR, bytes(5000), 1000))
    other = encode(super_tcp(*FOUR, bytes(5000), 1000, window=501))
    assert [p.segments for p in decode([*payloads[:2], other[2], *payloads[3:]])] == [2, 1, 2]


VALID = [payload for packet in (TCP4, TCP6, UDP4, UDP6, EXTENDED) for payload in encode(packet)]


def mutated(payload: bytes, changes: list[tuple[int, int]], cut_off: int) -> bytes:
    new = bytearray(payload)
    for offset, value in changes:
        new[offset % min(len(new), 90)] = value
    return bytes(new[:cut_off]) if cut_off < 120 else bytes(new)


MUTATED = st.builds(
    mutated, st.sampled_from(VALID), st.lists(st.tuples(st.integers(0, 89), st.integers(0, 255)), max_size=3),
    st.integers(0, 400),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(MUTATED, st.sampled_from(VALID), st.binary(max_size=120)), max_size=6))
def test_nothing_that_a_peer_sends_does_more_than_count(payloads: list[bytes]) -> None:
    dropped: list[str] = []
    received = codec().decode(payloads, dropped.append)
    assert set(dropped) <= {"bad_offload"}
    # Each payload is one segment or one drop, and what is delivered is sound, whatever its maker wrote.
    assert sum(packet.segments for packet in received) + len(dropped) == len(payloads)
    for packet in received:
        header = well_formed(packet.frame)
        assert packet.frame[0] == NEEDS_CSUM
        assert int.from_bytes(packet.frame[2:4], "little") == header.header_length
        assert len(segment(packet)) == packet.segments
    complete = codec(own=frozenset()).decode(payloads, lambda reason: None)
    assert len(complete) + len(dropped) == len(payloads)
