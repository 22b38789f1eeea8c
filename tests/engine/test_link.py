"""A link's payloads: each codec gets its own, in the order in which they came."""

from __future__ import annotations

import pytest

from vpnrs_core.builtin.offload import OffloadCodec
from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.builtin.segments import SegmentsCodec
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.packet.kinds import ALL_KINDS
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit.packets import echo, super_tcp, super_udp, udp

FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")
CODECS = ((2, OffloadCodec()), (4, SegmentsCodec()), (0, PlainCodec()))


class Lane:
    def __init__(self, name: str = "datagram", largest: int = 1400) -> None:
        self.NAME, self.largest, self.sent = name, largest, []

    def max_payload(self):
        return self.largest

    def room(self):
        return 1 << 20

    def send(self, payloads):
        self.sent += payloads
        return len(payloads)


def port(lane: Lane, kinds: frozenset[str] = ALL_KINDS, prefix: bytes = b"") -> LinkPort:
    codecs = [(context, codec.NAME, codec.open(kinds, kinds, lane.NAME)) for context, codec in CODECS]
    return LinkPort(None, lane, codecs, prefix=prefix)  # type: ignore[arg-type]


def no_drop(reason: str) -> None:
    raise AssertionError(reason)


def mixture() -> list[Packet]:
    return [
        Packet.of(echo(*FOUR)),
        super_tcp(*FOUR, bytes(3500), 1200),
        super_tcp(*FOUR, b"last", 1200, seq=3501),
        super_udp(*SIX, bytes(2500), 1200),
        Packet.of(udp(*SIX, b"finished")),
        super_tcp(*SIX, bytes(1201), 1200),
    ]


def test_a_mixture_of_contexts_arrives_in_order() -> None:
    lane = Lane()
    sender = port(lane)
    assert all(sender.send(packet) for packet in mixture())
    assert [payload[0] for payload in lane.sent] == [0, 4, 4, 4, 2, 4, 4, 4, 0, 4, 4]
    assert [packet.frame for packet in port(Lane()).decode(lane.sent, no_drop)] == [p.frame for p in mixture()]


def test_a_stream_lane_carries_super_packets_whole() -> None:
    lane = Lane("stream", 65_600)
    sender = port(lane)
    assert all(sender.send(packet) for packet in mixture())
    assert [payload[0] for payload in lane.sent] == [0, 2, 2, 2, 0, 2]
    assert [packet.frame for packet in port(Lane("stream")).decode(lane.sent, no_drop)] == [p.frame for p in mixture()]


def test_a_peer_without_offloads_gets_plain_packets() -> None:
    lane = Lane()
    sender = port(lane, frozenset())
    assert all(sender.send(packet) for packet in mixture())
    assert lane.sent == [b"\0" + ip for packet in mixture() for ip in segment(packet)]


def test_what_fits_only_as_plain_packets_goes_as_such() -> None:
    packet = super_tcp(*FOUR, bytes(3000), 1200)
    lane = Lane(largest=1 + 1240 + 10)
    assert port(lane).send(packet)
    assert {payload[0] for payload in lane.sent} == {0}
    lane = Lane(largest=1 + 1240 + 11)
    assert port(lane).send(packet)
    assert {payload[0] for payload in lane.sent} == {4}
    assert not port(Lane(largest=1240)).send(packet)


def test_a_context_id_may_be_longer_than_it_needs_to_be() -> None:
    ip = udp(*FOUR, b"payload")
    payloads = [b"\x40\0" + ip, b"\0" + ip, b"\x80\0\0\0" + ip]
    assert [packet.data for packet in port(Lane()).decode(payloads, no_drop)] == [ip] * 3


@pytest.mark.parametrize("bad", [b"", b"\x40", b"\6rest", b"\x40\x50rest", b"\xff"])
def test_a_payload_without_a_known_context_is_dropped_alone(bad: bytes) -> None:
    ip, dropped = udp(*FOUR, b"payload"), []
    received = port(Lane()).decode([b"\0" + ip, bad, bad, b"\0" + ip], dropped.append)
    assert [packet.data for packet in received] == [ip, ip]
    assert dropped == ["unknown_context"] * 2
