"""What observing costs: the history per session, and how long packets wait for a status and a scrape of many sessions.
bench.counting has what the counters cost.

python -m bench.observe"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import repeat
from typing import Any

from vpnrs_core.counters import FlowCounters
from vpnrs_core.engine.history import History
from vpnrs_core.testkit.inprocess import KitInstance, running

SESSIONS = 1000


def best(act: Callable[[], Any], number: int) -> float:
    """Seconds of one call, the best of five runs."""
    return min(repeat(act, number=number, repeat=5)) / number


def history() -> float:
    """One look at a thousand sessions; there is one every two seconds."""
    counters = {number: FlowCounters() for number in range(SESSIONS)}
    kept = History(lambda: counters)
    clock = iter(range(10_000))
    for _ in range(40):
        kept.sample(float(next(clock)))
    return best(lambda: kept.sample(float(next(clock))), 20)


class Gap:
    """The longest time in which the loop did nothing else, while something was done."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def during(self, done: Awaitable[object]) -> tuple[float, float]:
        """→ seconds that it took, and the longest of them in a row."""
        began = self._last = time.perf_counter()
        self._worst = 0.0
        self._tick()
        await done
        self._tick()
        self._handle.cancel()
        return time.perf_counter() - began, self._worst

    def _tick(self) -> None:
        now = time.perf_counter()
        self._worst, self._last = max(self._worst, now - self._last), now
        self._handle = self._loop.call_later(0.0005, self._tick)


@asynccontextmanager
async def crowded() -> AsyncIterator[tuple[KitInstance, int]]:
    """A server in this process, with one session that is listed a thousand times, and its endpoint's port."""
    with TemporaryDirectory() as folder:
        metrics = {"listen": "127.0.0.1:0", "sessions": True}
        async with running(Path(folder), server={"plugins": {"metrics": metrics}}) as pair:
            server: Any = pair.server
            (one,) = server._part._live.running.values()
            for number in range(40):
                server.vitals.history.sample(server.loop.time() - 80 + 2 * number)
            names = [f"more{number}" for number in range(SESSIONS - 1)]
            server._part._live.running.update(dict.fromkeys(names, one))
            gc.freeze()  # as `vpnrs run` does
            (endpoint,) = (entry.object for entry in server.plugins.registry.all("services"))
            try:
                yield server, endpoint.port
            finally:
                for name in names:
                    del server._part._live.running[name]


async def ask(*command: str) -> None:
    """Have another process do it."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", *command)
    assert await child.wait() == 0


SCRAPE = """import sys, urllib.request as u
asked = u.Request(f"http://127.0.0.1:{sys.argv[1]}/metrics", headers={"Accept": "application/openmetrics-text"})
assert len(u.urlopen(asked).read()) > 100_000"""
ASK = """import sys; from vpnrs_core.engine.local_client import LocalClient
LocalClient("kit-server", sys.argv[1]).call(sys.argv[2])"""


async def stalls() -> None:
    logging.getLogger("vpnrs").setLevel("ERROR")
    async with crowded() as (_, port):
        gap = Gap()
        for name, command in (
            ("scrape", (SCRAPE, str(port))),
            ("vpnrs status", (ASK, "status", "core.status")),
            ("status for everybody", (ASK, "summary", "core.summary")),
        ):
            found = [await gap.during(ask(*command)) for _ in range(5)]
            print(
                f"{name}, {SESSIONS} sessions: the loop's longest gap {max(worst for _, worst in found) * 1e3:8.1f} ms"
            )


if __name__ == "__main__":
    print(f"history, {SESSIONS} sessions, every two seconds {history() * 1e3:8.2f} ms")
    asyncio.run(stalls())
