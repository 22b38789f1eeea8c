"""What observing costs: the counters at the TUN per frame, the history per session, a status and a scrape.

python -m bench.observe"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from timeit import repeat
from typing import Any

from vpnrs_core.counters import DropCounts, FlowCounters
from vpnrs_core.engine.history import History
from vpnrs_core.engine.status import InstanceStatus, LinkStatus, ServerStatus, SessionStatus
from vpnrs_core.engine.tally import Tally
from vpnrs_core.interfaces.tun import TunCounters

SESSIONS = 1000
FRAMES = 4  # that a wake-up brings of full super-packets


def best(act: Callable[[], Any], number: int) -> float:
    """Seconds of one call, the best of five runs."""
    return min(repeat(act, number=number, repeat=5)) / number


def tun_counters() -> float:
    """Of a batch: what reading and writing it adds."""
    moved = TunCounters()
    frames = [b""] * FRAMES

    def count() -> None:
        total = 0
        for _ in frames:
            total += 65_000
        moved.frames_written += len(frames)
        moved.bytes_written += total - 10 * len(frames)
        moved.frames_read += len(frames)
        moved.bytes_read += total - 10 * len(frames)

    def nothing() -> None:
        for _ in frames:
            pass

    return best(count, 20_000) - best(nothing, 20_000)


def history() -> float:
    """One look at a thousand sessions; there is one every two seconds."""
    counters = {number: FlowCounters() for number in range(SESSIONS)}
    kept = History(lambda: counters)
    clock = iter(range(10_000))
    for _ in range(40):
        kept.sample(float(next(clock)))
    return best(lambda: kept.sample(float(next(clock))), 20)


def status() -> float:
    """A thousand sessions as JSON, from models that are there."""
    link = LinkStatus(remote="192.0.2.1:1", transport="quic", lane="datagram", codecs=["segments", "plain"])
    sessions = [
        SessionStatus(id=f"s{n}", principal=f"p{n}", state="active", mtu=1280, age_seconds=1.0, links=[link])
        for n in range(SESSIONS)
    ]
    whole = InstanceStatus(
        role="server", instance="b", version="0", pid=1, uptime_seconds=1.0, state="listening", transport="quic",
        server=ServerStatus(listen="x", sessions=sessions),
    )  # fmt: skip
    return best(lambda: InstanceStatus.model_validate(whole.model_dump(mode="json")), 3)


async def scrape(sessions: int) -> float:
    from vpnrs_metrics.exposition import Exposition

    from vpnrs_core.testkit.clock import Clock
    from vpnrs_core.testkit.context import KitContext

    ctx = KitContext("metrics", None, Clock())  # type: ignore[arg-type]
    ctx.counters.source(DropCounts().samples)
    ctx.counters.source(Tally().samples)
    link = {"rtt_ms": 1.0, "rtt_variation_ms": 1.0, "loss": 0.0, "congestion_window": 15_000}
    moved = {"packets": 1, "bytes": 1}
    found = [
        {"id": f"s{n}", "principal": f"p{n}", "state": "active", "age_seconds": 1.0, "queue_bytes": 0, "ingress": moved,
         "egress": moved, "drops": {"queue_delay": 1}, "links": [link]}
        for n in range(sessions)
    ]  # fmt: skip
    ctx.answers["core.status"] = {"server": {"sessions": found}, "client": None}
    exposition = Exposition(ctx, bool(sessions), SESSIONS)
    await exposition.text()
    began = time.perf_counter()
    for _ in range(5):
        await exposition.text("application/openmetrics-text")
    return (time.perf_counter() - began) / 5


if __name__ == "__main__":
    print(f"counters at the TUN, a batch of {FRAMES} frames   {tun_counters() * 1e6:8.2f} µs")
    print(f"history, {SESSIONS} sessions, every two seconds {history() * 1e3:8.2f} ms")
    print(f"status, {SESSIONS} sessions                     {status() * 1e3:8.2f} ms")
    print(f"scrape, no sessions shown                 {asyncio.run(scrape(0)) * 1e3:8.2f} ms")
    print(f"scrape, {SESSIONS} sessions shown               {asyncio.run(scrape(SESSIONS)) * 1e3:8.2f} ms")
