"""The halves codec: what one side divides, the other joins; what does not belong together is dropped and counted."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.builtin.halves import LARGEST, MOST_WAITING, HalvesCodec
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit.packets import super_tcp, super_udp, udp

FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")


def codec():
    return HalvesCodec().open(frozenset(), frozenset())


def no_drop(reason):
    raise AssertionError(reason)


def lone(addresses, payload):
    return Packet.of(udp(*addresses, payload))


def packets(sizes):
    return [lone(SIX, random.Random(n).randbytes(size)) for n, size in enumerate(sizes)]


@given(st.lists(st.integers(1, LARGEST - 48), max_size=20), st.randoms())
def test_halves_that_arrive_in_any_order_are_the_packets_again(sizes, source):
    sender, sent = codec(), packets(sizes)
    payloads = [payload for packet in sent for payload in sender.encode(packet, 700, b"\6")]
    source.shuffle(payloads)
    got = codec().decode(payloads, no_drop, 1)
    assert sorted(packet.data for packet in got) == sorted(segment(packet)[0] for packet in sent)
    assert max((len(payload) for payload in payloads), default=0) <= 701


def test_segments_of_udp_are_divided_each():
    sent = super_udp(*SIX, random.Random(1).randbytes(10_000), 1200)
    got = codec().decode(codec().encode(sent, 1170), no_drop)
    assert [packet.data for packet in got] == segment(sent)


def test_what_can_be_made_smaller_otherwise_is_not_taken():
    large = lone(SIX, bytes(LARGEST - 47))
    tcp = super_tcp(*SIX, bytes(10_000), 1200)
    four = lone(FOUR, bytes(1200))
    assert [codec().encode(packet, 1170) for packet in (large, tcp, four)] == [None] * 3
    assert codec().encode(lone(SIX, bytes(1200)), 300) is None


def test_halves_that_stay_alone_are_dropped_and_counted():
    sender, receiver, dropped = codec(), codec(), []
    firsts = [sender.encode(packet, 1170)[0] for packet in packets([1000] * (MOST_WAITING + 5))]
    assert receiver.decode(firsts, dropped.append) == []
    assert dropped == ["malformed"] * 5


@pytest.mark.parametrize(
    "payloads",
    [[b""], [b"\0\1\0"], [b"\0\1\2abc"], [b"\0\1\0" + bytes(LARGEST + 1)], [b"\0\1\0abc", b"\0\1\1def"]],
)
def test_what_is_no_half_or_makes_no_packet_is_dropped(payloads):
    dropped = []
    assert codec().decode(payloads, dropped.append) == []
    assert dropped == ["malformed"]


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_nothing_that_a_peer_sends_raises(payloads):
    assert all(isinstance(packet, Packet) for packet in codec().decode(payloads, lambda _: None, 0))


def test_two_packets_joined_crosswise_are_no_packet():
    """The same number twice, as after 65,536 packets: the older half gives way."""
    one, other = codec().encode(lone(SIX, b"a" * 900), 1170), codec().encode(lone(SIX, b"b" * 900), 1170)
    dropped = []
    [got] = codec().decode([one[0], *other], dropped.append)
    assert got.data == segment(lone(SIX, b"b" * 900))[0]
    assert dropped == ["malformed"]
