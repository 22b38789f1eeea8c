"""Timers of the pipeline: one for each stage and for each paced queue, on the caller's clock."""

from __future__ import annotations

from heapq import heappop, heappush
from math import isfinite
from typing import Generic, TypeVar

Owner = TypeVar("Owner")


class Timers(Generic[Owner]):
    """The earliest time that an owner asked for holds until it has come; then the owner may ask again."""

    def __init__(self) -> None:
        self._times: dict[Owner, float] = {}
        self._heap: list[tuple[float, int, Owner]] = []
        self._count = 0

    def at(self, owner: Owner, time: float) -> None:
        """Wake `owner` at `time`, in monotonic seconds. ValueError when it is no time."""
        if not isfinite(time):
            raise ValueError(f"wake_at({time}): a finite time in seconds is needed")
        if time < self._times.get(owner, float("inf")):
            self._times[owner] = time
            self._count += 1  # a tie is never decided by comparing owners
            heappush(self._heap, (time, self._count, owner))

    def cancel(self, owner: Owner) -> None:
        self._times.pop(owner, None)

    def due(self, now: float) -> list[Owner]:
        """Owners whose time has come, in its order. Their timers are gone."""
        found: list[Owner] = []
        heap, times = self._heap, self._times
        while heap and heap[0][0] <= now:
            time, _, owner = heappop(heap)
            if times.get(owner) == time:
                del times[owner]
                found.append(owner)
        return found

    def next(self) -> float | None:
        """The earliest time that anyone waits for."""
        heap, times = self._heap, self._times
        while heap and times.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None
