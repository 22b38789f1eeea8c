"""The token bucket behind a grant's Rate: one paces a session's queue, one polices what its client sends."""

from __future__ import annotations

from vpnrs_core.interfaces.grant import Rate

# Bytes of rounding that are forgiven, so that a timer set for a moment finds the tokens that were computed for it.
TOLERANCE = 1.0


class TokenBucket:
    """Bytes that may go now. It starts full; spending may leave a debt of less than one segment, which keeps the
    rate exact where a segment is larger than the burst."""

    __slots__ = ("_at", "burst", "rate", "tokens")

    def __init__(self, rate: Rate) -> None:
        self.rate = max(rate.bits_per_second / 8, 1.0)  # bytes a second
        self.burst = float(max(rate.burst_bytes, 1))
        self.tokens = self.burst
        self._at: float | None = None

    def refill(self, now: float) -> float:
        """Tokens at `now`, in bytes."""
        if self._at is not None and now > self._at:
            self.tokens = min(self.burst, self.tokens + (now - self._at) * self.rate)
        if self._at is None or now > self._at:
            self._at = now
        return self.tokens

    def spend(self, size: int) -> None:
        self.tokens -= size

    def has(self, need: float) -> bool:
        """Whether `need` bytes are there, as of the last refill; no more than the burst is ever waited for."""
        return self.tokens + TOLERANCE >= min(need, self.burst)

    def when(self, need: float, now: float) -> float:
        """The moment at which `has(need)` becomes true."""
        missing = min(need, self.burst) - self.refill(now)
        return now if missing <= TOLERANCE else now + missing / self.rate

    def change(self, rate: Rate) -> None:
        """Another rate from now on: what was saved or owed is kept, within the new burst."""
        self.rate = max(rate.bits_per_second / 8, 1.0)
        self.burst = float(max(rate.burst_bytes, 1))
        self.tokens = min(self.tokens, self.burst)
