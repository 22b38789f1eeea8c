"""Ports and echo ids of one source address: which are taken, and which one a new binding gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

# RFC 4787 REQ-3: a port of the well-known class keeps its class.
WELL_KNOWN = 1024
_HALF = 32768


class Ports:
    """The taken numbers of one address and protocol: two byte arrays, even and odd, so that a search for a free number
    of the same parity is one search in C, however full they are."""

    __slots__ = ("_taken", "high", "low", "used")

    def __init__(self, low: int, high: int) -> None:
        """`low` and `high` bound what `take` gives, both included."""
        if not 0 <= low <= high <= 65535:
            raise ValueError(f"no range of ports: {low}–{high}")
        self.low, self.high = low, high
        self.used = 0
        self._taken = (bytearray(_HALF), bytearray(_HALF))

    def is_free(self, port: int) -> bool:
        return not self._taken[port & 1][port >> 1]

    def claim(self, port: int) -> bool:
        """Take this very port, inside the range or not. False: it is taken."""
        if not self.is_free(port):
            return False
        self._taken[port & 1][port >> 1] = 1
        self.used += 1
        return True

    def release(self, port: int) -> None:
        if self.is_free(port):
            raise ValueError(f"port {port} is not taken")
        self._taken[port & 1][port >> 1] = 0
        self.used -= 1

    def take(self, wanted: int, parity: bool, random: Callable[[int], bytes]) -> int | None:
        """The port itself if it is in range and free; else one of its class, of its parity if `parity`, at random
        (RFC 6056 section 3.3.1); else of the other parity, and of the other class last. None: all are taken."""
        if self.low <= wanted <= self.high and self.claim(wanted):
            return wanted
        start = int.from_bytes(random(2), "big")
        for low, high in self._classes(wanted):
            first = wanted & 1 if parity else start >> 15
            for odd in (first, first ^ 1):
                port = self._search(odd, low, high, start)
                if port is not None:
                    self.claim(port)
                    return port
        return None

    def _classes(self, wanted: int) -> Iterator[tuple[int, int]]:
        """The range's part of the wanted port's class, then the rest."""
        below = (self.low, min(self.high, WELL_KNOWN - 1))
        above = (max(self.low, WELL_KNOWN), self.high)
        for low, high in (below, above) if wanted < WELL_KNOWN else (above, below):
            if low <= high:
                yield low, high

    def _search(self, odd: int, low: int, high: int, start: int) -> int | None:
        """The first free port of this parity from a random place on, once around."""
        first, end = (low - odd + 1) >> 1, ((high - odd) >> 1) + 1
        if first >= end:
            return None
        taken = self._taken[odd]
        at = first + start % (end - first)
        found = taken.find(0, at, end)
        if found < 0:
            found = taken.find(0, first, at)
        return None if found < 0 else found << 1 | odd
