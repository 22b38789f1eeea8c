"""A tap shows one session's packets at each point, in order, and leaves no trace of itself."""

from __future__ import annotations

import pytest
from acting_stage import PeerSide, TunSide, forward_all

from vpnrs_core.interfaces import Direction
from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit.packets import super_tcp, udp

FAR, MINE, OTHER = "198.51.100.7", "10.0.0.2", "10.0.0.3"


@pytest.fixture
def tapped(make_bench):
    """`tapped(*stages)` → (bench, what was seen of session a as (point, direction, reason, bytes), how to end it)."""

    def make(*stages):
        bench, seen = make_bench(*stages), []

        def show(point, direction, packet, reason):
            seen.append((point, direction.value, reason, None if packet is None else packet.data))

        return bench, seen, bench.pipeline.tap(bench.a.session.id, show)

    return make


def points(seen):
    return [(point, direction, reason) for point, direction, reason, _ in seen]


def test_egress_is_shown_from_the_tun_to_the_link(tapped):
    bench, seen, _ = tapped(TunSide(forward_all, "near", 1), PeerSide(forward_all, "far", 2))
    bench.pipeline.egress([Packet.of(udp(FAR, OTHER, b"theirs")), Packet.of(udp(FAR, MINE, b"mine"))], 0.0)
    bench.a.queue.pull(10_000, 0.0)
    stage = bench.pipeline.tap.__self__._carrier.tun_stages[0].plugin
    assert points(seen) == [
        ("tun", "egress", ""),
        (f"before:{stage}", "egress", ""),
        (f"after:{stage}", "egress", ""),
        (f"before:{bench.a.stages[0].plugin}", "egress", ""),
        (f"after:{bench.a.stages[0].plugin}", "egress", ""),
        ("queue", "egress", ""),
        ("link", "egress", ""),
    ]
    assert {data for *_, data in seen} == {udp(FAR, MINE, b"mine")}


def test_ingress_is_shown_from_the_link_to_the_tun_and_a_spoofed_packet_with_its_reason(tapped):
    bench, seen, _ = tapped()
    bench.pipeline.ingress(bench.b, [Packet.of(udp(OTHER, FAR, b"theirs"))], 0.0)
    bench.pipeline.ingress(bench.a, [Packet.of(udp(MINE, FAR, b"x")), Packet.of(udp("10.0.0.77", FAR, b"y"))], 0.0)
    assert points(seen) == [("link", "ingress", ""), ("link", "ingress", "source"), ("tun", "ingress", "")]
    assert bench.drops.nonzero() == {"source": 1}


def test_what_a_stage_translates_is_shown_before_and_after(tapped):
    """On egress nobody knows whose it is until it has been translated: it is shown all the same."""

    def translate(direction, batch, out, now):
        for packet in batch:
            out.forward(packet, Packet.of(udp(FAR, MINE, b"translated")))

    bench, seen, _ = tapped(TunSide(translate))
    bench.pipeline.egress([Packet.of(udp("192.0.2.1", "192.0.2.2", b"strange"))], 0.0)
    assert [(point.partition(":")[0], data) for point, _, _, data in seen] == [
        ("before", udp("192.0.2.1", "192.0.2.2", b"strange")),
        ("after", udp(FAR, MINE, b"translated")),
        ("queue", udp(FAR, MINE, b"translated")),
    ]


def test_drops_holds_answers_and_injections_of_a_stage_are_told(tapped):
    def act(direction, batch, out, now):
        first, second, third, fourth = batch
        out.drop(first, "no_route")
        out.hold(second)
        out.reply(third, Packet.of(udp(MINE, FAR, b"answer")))
        out.inject(Direction.EGRESS, Packet.of(udp(FAR, MINE, b"more")), cause=fourth)

    bench, seen, _ = tapped(PeerSide(act))
    bench.pipeline.ingress(bench.a, [Packet.of(udp(MINE, FAR, bytes([n]))) for n in range(4)], 0.0)
    told = [(point.partition(":")[0], direction, reason) for point, direction, reason in points(seen)]
    assert told[4:] == [
        ("before", "ingress", "no_route"),
        ("before", "ingress", "held"),
        ("before", "ingress", "answered"),
        ("after", "egress", ""),
        ("after", "egress", ""),
        ("queue", "egress", ""),
        ("queue", "egress", ""),
    ]


def test_what_a_failing_stage_loses_is_told(tapped):
    def act(direction, batch, out, now):
        out.forward(batch[0])
        raise ValueError("oops")

    bench, seen, _ = tapped(TunSide(act))
    bench.pipeline.ingress(bench.a, [Packet.of(udp(MINE, FAR, b"1")), Packet.of(udp(MINE, FAR, b"2"))], 0.0)
    lost = [data for point, _, reason, data in seen if reason == "stage_error"]
    assert sorted(lost) == sorted([udp(MINE, FAR, b"1"), udp(MINE, FAR, b"2")])
    assert bench.drops.nonzero() == {"stage_error": 2}


def test_what_the_queue_drops_is_told(tapped):
    bench, seen, _ = tapped()
    big = [Packet.of(udp(FAR, MINE, bytes(1300))) for _ in range(1000)]
    bench.pipeline.egress(big, 0.0)
    dropped = bench.a.drops.nonzero()
    assert dropped["queue_overflow"] > 100
    assert points(seen).count(("queue", "egress", "queue_overflow")) == dropped["queue_overflow"]


def test_isolation_and_no_codec_are_told(tapped):
    bench, seen, _ = tapped()
    bench.pipeline.ingress(bench.a, [Packet.of(udp(MINE, OTHER, b"to a neighbour"))], 0.0)
    bench.a.drops.count("too_big", 1, 1500)
    assert points(seen)[-2:] == [("isolation", "ingress", "isolation"), ("codec", "egress", "too_big")]


def test_a_tap_that_is_out_has_left_nothing_and_there_is_one_at_a_time(tapped):
    bench, seen, end = tapped(PeerSide(forward_all))
    with pytest.raises(ValueError, match="one at a time"):
        bench.pipeline.tap(bench.b.session.id, lambda *_: None)
    stages = bench.a.stages
    end()
    end()
    for each in (bench.pipeline, bench.a.queue, bench.a.drops, stages[0].out):
        assert not [name for name, value in vars(each).items() if callable(value) and "Tap" in repr(value)]
    bench.pipeline.egress([Packet.of(udp(FAR, MINE, b"unseen"))], 0.0)
    assert seen == []
    with pytest.raises(ValueError, match="no session"):
        bench.pipeline.tap("nobody", lambda *_: None)


def test_a_tap_ends_with_its_session(tapped):
    bench, seen, _ = tapped()
    bench.pipeline.close(bench.a, "over")
    bench.pipeline.tap(bench.b.session.id, lambda *_: None)
    bench.pipeline.ingress(bench.b, [Packet.of(udp(OTHER, FAR, b"x"))], 0.0)
    assert seen == []


def test_no_packet_is_lost_or_reordered_by_a_tap(make_bench):
    """The same traffic, dropped, held, answered, doubled and cut by its stages, with a tap and without one."""

    def act(direction, batch, out, now):
        for number, packet in enumerate(batch):
            match (number + len(packet.data)) % 5:
                case 0:
                    out.drop(packet, "no_route")
                case 1:
                    out.forward(packet, packet, Packet.of(packet.data))
                case 2 if direction is Direction.INGRESS:
                    out.reply(packet, Packet.of(udp(FAR, MINE, b"answer")))
                case _:
                    out.forward(packet)

    def run(tap):
        bench = make_bench(TunSide(act, "near", 1), PeerSide(act, "far", 2))
        seen = []
        if tap:
            bench.pipeline.tap(bench.a.session.id, lambda point, direction, packet, reason: seen.append(point))
        for turn in range(40):
            sizes = range(turn, turn + 30)
            bench.pipeline.egress([Packet.of(udp(FAR, (MINE, OTHER)[n % 2], bytes([turn, n]) * n)) for n in sizes], 0.0)
            bench.pipeline.egress([super_tcp(FAR, MINE, bytes([turn]) * 9000, 1300)], 0.0)
            bench.pipeline.ingress(bench.a, [Packet.of(udp(MINE, FAR, bytes([turn, n]) * n)) for n in sizes], 0.0)
        left = bench.tun(), bench.queued(bench.a), bench.queued(bench.b)
        return (*left, bench.drops.nonzero(), bench.a.counters.as_dict(), bench.failures), seen

    without, nothing = run(tap=False)
    with_, seen = run(tap=True)
    assert with_ == without
    assert len(seen) > 1000
    assert not nothing
    assert all(without[:5])
