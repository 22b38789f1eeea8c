"""The last minute of each session's traffic, for rates and sparklines: one look at the counters every two seconds."""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

from vpnrs_core.counters import FlowCounters

INTERVAL = 2.0
SLOTS = 31  # samples, so one interval fewer
# A rate over less time than this says more about the moment of the question than about the traffic.
SHORTEST = 1.0


class Rates(NamedTuple):
    """Bytes a second, now and in each interval of the last minute, oldest first."""

    ingress: float
    egress: float
    ingress_history: list[float]
    egress_history: list[float]


class History:
    """`read` gives the counters to follow, by whom they belong to. Compact: a session costs half a kilobyte."""

    def __init__(self, read: Callable[[], Mapping[Hashable, FlowCounters]]) -> None:
        self._read = read
        self._times: deque[float] = deque(maxlen=SLOTS)
        self._rings: dict[Hashable, array[int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Sample in the running loop from now on."""
        loop = asyncio.get_running_loop()
        self.sample(loop.time())
        self._timer = loop.call_later(INTERVAL, self.start)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def sample(self, now: float) -> None:
        """Note all counters. Who is not there any more is forgotten."""
        self._times.append(now)
        rings: dict[Hashable, array[int]] = {}
        for whose, counters in self._read().items():
            ring = self._rings.get(whose)
            if ring is None:
                ring = array("Q")
            ring.append(counters.ingress_bytes)
            ring.append(counters.egress_bytes)
            if len(ring) > 2 * SLOTS:
                del ring[:2]
            rings[whose] = ring
        self._rings = rings

    def rates(self, whose: Hashable, counters: FlowCounters, now: float, *, history: bool = True) -> Rates:
        """Zero for what has not been there for two samples. Without `history` it is empty."""
        ring = self._rings.get(whose, array("Q"))
        ins, outs = ring[::2], ring[1::2]
        times = list(self._times)[len(self._times) - len(ins) :]
        back = next((n for n in range(1, len(times) + 1) if now - times[-n] >= SHORTEST), None)
        if back is None:
            ingress = egress = 0.0
        else:
            seconds = now - times[-back]
            ingress = (counters.ingress_bytes - ins[-back]) / seconds
            egress = (counters.egress_bytes - outs[-back]) / seconds
        if not history:
            return Rates(ingress, egress, [], [])
        return Rates(ingress, egress, _differences(ins, times), _differences(outs, times))


def _differences(values: array[int], times: list[float]) -> list[float]:
    return [
        (values[n] - values[n - 1]) / (times[n] - times[n - 1])
        for n in range(1, len(values))
        if times[n] > times[n - 1]
    ]
