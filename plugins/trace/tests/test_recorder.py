"""What waits to be fetched is bounded, in bytes and in time."""

from vpnrs_trace.recorder import ABANDONED, Recorder

from vpnrs_core.interfaces import Direction, Packet
from vpnrs_core.testkit.packets import super_tcp, udp

PACKET = Packet.of(udp("10.0.0.2", "10.0.0.3", bytes(1000)))


def recorder(**more):
    return Recorder("s1", 100.0, **{"seconds": 30.0, "max_bytes": 10_000, "snap": 65_535, **more})


def test_what_does_not_fit_is_counted_until_somebody_fetches():
    trace = recorder()
    for _ in range(20):
        trace.saw(1.0, "tun", Direction.EGRESS, PACKET, "")
    first = trace.fetch(101.0, 1 << 20)
    assert len(first) + trace.missed == 20
    assert 0 < sum(len(record.data) for record in first) <= 10_000
    trace.saw(2.0, "tun", Direction.EGRESS, PACKET, "")
    assert len(trace.fetch(102.0, 1 << 20)) == 1


def test_an_answer_is_bounded_too():
    trace = recorder(max_bytes=1 << 20)
    for _ in range(20):
        trace.saw(1.0, "tun", Direction.EGRESS, PACKET, "")
    assert [len(trace.fetch(101.0, 5000)) for _ in range(5)] == [5, 5, 5, 5, 0]


def test_packets_are_cut_and_keep_their_length():
    trace = recorder(snap=64)
    packet = super_tcp("10.0.0.2", "10.0.0.3", bytes(5000), 1000)
    trace.saw(1.0, "queue", Direction.EGRESS, packet, "queue_overflow")
    trace.saw(1.0, "codec", Direction.EGRESS, None, "too_big")
    cut, nothing = trace.fetch(101.0, 1 << 20)
    assert (len(cut.data), cut.length, cut.segments, cut.reason) == (64, len(packet.data), 5, "queue_overflow")
    assert (nothing.data, nothing.reason) == (b"", "too_big")


def test_a_malformed_packet_is_shown_as_it_came():
    trace = recorder()
    trace.saw(1.0, "link", Direction.INGRESS, Packet.of(b"\x45nonsense"), "malformed")
    (record,) = trace.fetch(101.0, 1 << 20)
    assert (record.data, record.segments) == (b"\x45nonsense", 1)


def test_only_the_points_asked_for():
    trace = recorder(points=["before:nat64", "queue"])
    for point in ("tun", "before:nat64", "after:nat64", "queue"):
        trace.saw(1.0, point, Direction.EGRESS, PACKET, "")
    assert [record.point for record in trace.fetch(101.0, 1 << 20)] == ["before:nat64", "queue"]


def test_it_ends_by_its_time_or_when_nobody_fetches():
    trace = recorder()
    assert not trace.ended(100.0 + ABANDONED - 0.1)
    assert trace.ended(100.0 + ABANDONED)
    trace.fetch(110.0, 1)
    assert not trace.ended(100.0 + ABANDONED)
    trace.fetch(129.0, 1)
    assert trace.ended(130.0)
