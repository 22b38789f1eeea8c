"""The plain codec: what one side encodes, the other gets, byte for byte."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.counters import CORE_REASONS
from vpnrs_core.interfaces import Codec, PacketCodec
from vpnrs_core.packet.coalesce import JOIN_ALL
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit.packets import ACK, PSH, echo, super_tcp, super_udp, tcp, udp

FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")
FACTORY: PacketCodec = PlainCodec()


def codec(join: frozenset[str] | None = None) -> Codec:
    return FACTORY.open(JOIN_ALL if join is None else join, frozenset())


def no_drop(reason: str) -> None:
    raise AssertionError(reason)


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
def test_a_super_packet_arrives_as_it_left(addresses: tuple[str, str]) -> None:
    for packet in (
        super_tcp(*addresses, random.Random(1).randbytes(50_000), 1200, flags=ACK | PSH),
        super_udp(*addresses, random.Random(2).randbytes(50_000), 1200),
    ):
        payloads = codec().encode(packet, 1300)
        assert payloads is not None
        assert len(payloads) == packet.segments
        assert [p.frame for p in codec().decode(payloads, no_drop)] == [packet.frame]


def test_without_offloads_every_packet_stays_single() -> None:
    packet = super_tcp(*FOUR, random.Random(1).randbytes(50_000), 1200)
    payloads = codec().encode(packet, 1300)
    assert payloads is not None
    received = codec(frozenset()).decode(payloads, no_drop)
    assert [p.data for p in received] == payloads == segment(packet)
    assert not any(p.needs_csum or p.gso_type for p in received)


def test_a_packet_is_refused_when_a_segment_is_too_large() -> None:
    packet = super_tcp(*FOUR, bytes(5000), 1200)
    assert codec().encode(packet, 1240) is not None
    assert codec().encode(packet, 1239) is None
    lone = Packet.of(udp(*FOUR, bytes(100)))
    assert codec().encode(lone, 128) == [lone.data]
    assert codec().encode(lone, 127) is None


def test_malformed_payloads_are_counted_and_the_rest_arrives() -> None:
    dropped: list[str] = []
    good = [udp(*FOUR, b"one"), tcp(*SIX, b"two"), echo(*FOUR)]
    received = codec().decode([b"", good[0], b"\x45", good[1], good[2] + b"x", good[2]], dropped.append)
    assert [p.data for p in received] == good
    assert dropped == ["malformed"] * 3
    assert "malformed" in CORE_REASONS


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=90), max_size=5))
def test_nothing_that_a_peer_sends_raises(payloads: list[bytes]) -> None:
    dropped: list[str] = []
    received = codec().decode(payloads, dropped.append)
    assert len(received) + len(dropped) == len(payloads)
