"""What one gateway tracks in one tier, bounded: expired entries go first, then the least recently updated. Pure."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from vpnrs_core.interfaces import Seconds


@dataclass(frozen=True)
class Forgotten:
    """What made room: how many entries had expired, and who was evicted although nothing of it had."""

    expired: int = 0
    evicted: str | None = None


@dataclass
class _Entry:
    until: Seconds
    count: int


class Tracker:
    """Names, each with a count and the time (monotonic seconds) when nothing of it counts any more."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # (until, name), also of entries that were updated or forgotten since: looked at when they come up.
        self._expiries: list[tuple[Seconds, str]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def count(self, who: str) -> int:
        entry = self._entries.get(who)
        return entry.count if entry is not None else 0

    def update(self, who: str, until: Seconds, now: Seconds, *, add: int = 0) -> Forgotten | None:
        """`who` counts until then, `add` more than before. → what had to go for it, None: nothing."""
        forgotten = None
        entry = self._entries.pop(who, None)
        if entry is None or entry.until <= now:
            forgotten = self._make_room(now) if len(self._entries) >= self._limit else None
            entry = _Entry(until, 0)
        entry.count += add
        entry.until = max(entry.until, until)
        self._entries[who] = entry
        heapq.heappush(self._expiries, (entry.until, who))
        if len(self._expiries) > 4 * self._limit + 16:
            self._expiries = [(e.until, name) for name, e in self._entries.items()]
            heapq.heapify(self._expiries)
        return forgotten

    def forget(self, who: str) -> None:
        self._entries.pop(who, None)

    def top(self, most: int, now: Seconds) -> Sequence[tuple[str, int]]:
        """Those with the highest counts, highest first."""
        live = ((entry.count, who) for who, entry in self._entries.items() if entry.until > now and entry.count)
        return [(who, count) for count, who in heapq.nlargest(most, live)]

    def live(self, now: Seconds) -> int:
        return sum(entry.until > now for entry in self._entries.values())

    def _make_room(self, now: Seconds) -> Forgotten:
        expired = 0
        while self._expiries and self._expiries[0][0] <= now:
            _, who = heapq.heappop(self._expiries)
            entry = self._entries.get(who)
            if entry is not None and entry.until <= now:
                del self._entries[who]
                expired += 1
        if len(self._entries) < self._limit:
            return Forgotten(expired)
        evicted, _ = self._entries.popitem(last=False)
        return Forgotten(expired, evicted)
