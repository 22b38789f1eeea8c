"""What a bad path does to datagrams: one direction's loss, delay, rate, queue, reordering and duplication. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Impairment:
    """`delay` and `reorder_by` in seconds; `loss`, `reorder` and `duplicate` as fractions; `rate` in bits of UDP
    payload a second (0: unlimited); `queue` in bytes, what waits for the rate (0: unlimited)."""

    delay: float = 0.0
    loss: float = 0.0
    rate: float = 0.0
    queue: int = 0
    reorder: float = 0.0
    reorder_by: float = 0.01
    duplicate: float = 0.0

    @property
    def per_datagram(self) -> bool:
        """Whether datagrams fare differently from each other; if not, those of one burst may stay together."""
        return bool(self.loss or self.rate or self.reorder or self.duplicate)


class Direction:
    """One direction of a path. `random` gives uniform numbers in [0, 1)."""

    def __init__(self, impairment: Impairment, random: Callable[[], float]) -> None:
        self.impairment = impairment
        self.blackout = False
        self.counts: Counter[str] = Counter()
        self._random = random
        self._idle_at = 0.0

    def offer(self, size: int, now: float, datagrams: int = 1) -> list[float]:
        """Datagrams of together `size` bytes arrive → when each copy of them leaves, in seconds like `now`; empty:
        lost. More than one at a time only when not `impairment.per_datagram`."""
        wanted = self.impairment
        self.counts["received"] += datagrams
        self.counts["received_bytes"] += size
        if self.blackout:
            return self._lost("lost_blackout", datagrams)
        if wanted.loss and self._random() < wanted.loss:
            return self._lost("lost_random", datagrams)
        start = now
        if wanted.rate:
            start = max(now, self._idle_at)
            if wanted.queue and (start - now) * wanted.rate / 8 + size > wanted.queue:
                return self._lost("lost_queue", datagrams)
            start = self._idle_at = start + size * 8 / wanted.rate
        leaves = start + wanted.delay
        if wanted.reorder and self._random() < wanted.reorder:
            self.counts["reordered"] += datagrams
            leaves += wanted.reorder_by
        copies = [leaves]
        if wanted.duplicate and self._random() < wanted.duplicate:
            self.counts["duplicated"] += datagrams
            copies.append(leaves)
        self.counts["sent"] += datagrams * len(copies)
        self.counts["sent_bytes"] += size * len(copies)
        return copies

    def _lost(self, why: str, datagrams: int) -> list[float]:
        self.counts[why] += datagrams
        return []
