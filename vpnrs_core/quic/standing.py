"""Notices a queue that stands on the path, where a loss-based window would fill megabytes of socket buffer. Pure."""

from __future__ import annotations

from vpnrs_core.interfaces.common import Seconds

# Always allowed in flight: 80 Mbit/s over a round trip of 100 ms, and no delay worth the name on fast paths.
FLOOR = 1 << 20
# A round trip may be twice the shortest one and this before the queue counts as standing.
ALLOWANCE = 0.010
# The shortest round trip is measured again, at the floor, in case the path has become longer.
PROBE_EVERY, PROBE_FOR = 30.0, 0.2


class StandingQueue:
    """Where no router drops, as between two busy processes, the window grows until a buffer is full and every packet
    waits behind it. The round trip says so earlier than a loss."""

    def __init__(self) -> None:
        self._shortest: Seconds | None = None
        self._probe_at = self._probe_until = 0.0
        self._seen = 0.0

    def blocks(self, in_flight: int, latest: Seconds, smoothed: Seconds, shortest: Seconds, now: Seconds) -> bool:
        """True: send nothing more for now. `in_flight` is bytes; the round trips are the recovery's: last, smoothed,
        and the shortest ever."""
        if in_flight <= FLOOR:
            return False
        if self._shortest is None:
            self._shortest, self._probe_at = shortest, now + PROBE_EVERY
        if now >= self._probe_at:
            self._probe_at = now + PROBE_EVERY
            self._probe_until = now + max(PROBE_FOR, 2 * smoothed)
            self._seen = latest
        if self._probe_until:
            self._seen = min(self._seen, latest)
            if now < self._probe_until:
                return True
            self._shortest, self._probe_until = self._seen, 0.0
        return self.stands(smoothed, shortest)

    def stands(self, smoothed: Seconds, shortest: Seconds) -> bool:
        """Whether a round trip tells of a queue, however little is in flight. `shortest` is the recovery's, which
        counts until a longer path has been measured here."""
        return smoothed > 2 * (shortest if self._shortest is None else self._shortest) + ALLOWANCE
