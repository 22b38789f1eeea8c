"""`play` tells what a stage did with each packet, and fails with the trace when the stage breaks the contract."""

from __future__ import annotations

from typing import Any

import pytest

from vpnrs_core.interfaces import Code, Direction, Refuse
from vpnrs_core.testkit.packets import echo, udp
from vpnrs_core.testkit.play import play
from vpnrs_core.testkit.stage_bench import KitSession

UP = udp("10.0.0.2", "192.0.2.1", b"hello", dport=53)


class Stage:
    NAME, ORDER = "stage", 1

    def __init__(self, process: Any) -> None:
        self.process = process

    def bind(self, session: KitSession, wake_at: Any) -> Stage:
        if session.id == "a":
            self.session, self.wake_at = session, wake_at
        return self

    def on_wake(self, now: float, out: Any) -> None:
        out.forward(self.kept)


def test_the_trace_reads_as_what_happened() -> None:
    def process(direction: Direction, batch: Any, out: Any, now: float) -> None:
        for packet in batch:
            if packet.protocol == 17:
                out.drop(packet, "stage.udp")
            else:
                out.forward(packet)
                stage.session.end(Refuse(Code.POLICY, detail="no pings"))

    stage = Stage(process)
    trace = play(stage, [UP, echo("10.0.0.2", "192.0.2.1")], reasons=["stage.udp"])
    assert str(trace).splitlines() == [
        "0: ingress udp 10.0.0.2:40000 → 192.0.2.1:53, 33 bytes",
        "   dropped 1 as stage.udp",
        "1: ingress icmp 10.0.0.2 → 192.0.2.1, 32 bytes",
        "   forwarded icmp 10.0.0.2 → 192.0.2.1, 32 bytes",
        "   session ended: policy no pings",
    ]
    assert (len(trace.forwarded), trace.dropped) == (1, {"stage.udp": 1})


def test_held_packets_leave_when_time_passes() -> None:
    def process(direction: Direction, batch: Any, out: Any, now: float) -> None:
        (stage.kept,) = batch
        out.hold(stage.kept)
        stage.wake_at(now + 5)

    stage = Stage(process)
    assert [packet.data for packet in play(stage, [UP]).held] == [UP]
    trace = play(stage, [UP], wait=6)
    assert (trace.held, [packet.data for packet in trace.forwarded]) == ([], [UP])
    back = play(stage, [udp("192.0.2.1", "10.0.0.2")], direction=Direction.EGRESS, wait=6)
    assert len(back.forwarded) == 1


def test_a_stage_that_fails_fails_the_test_with_its_trace() -> None:
    def process(direction: Direction, batch: Any, out: Any, now: float) -> None:
        raise KeyError("no such thing")

    with pytest.raises(AssertionError, match=r"(?s)0: ingress udp.*FAILED stage process: KeyError: 'no such thing'"):
        play(Stage(process), [UP])
