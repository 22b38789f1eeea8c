"""How many ICMP errors of its own the translator sends (RFC 4443 section 2.4 (f), RFC 7915 section 4.4)."""

from __future__ import annotations


class Limiter:
    """A token bucket: `rate` a second, and a second's worth at once. A rate of 0 allows none."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens = rate
        self._at = 0.0

    def allows(self, now: float) -> bool:
        """Whether one more may be sent; if so it counts as sent. `now`: monotonic seconds."""
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Limiters:
    """A bucket of `rate` for everybody who could empty one, so that nobody empties another's."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._of: dict[object, Limiter] = {}

    def allows(self, whose: object, now: float) -> bool:
        """As `Limiter.allows`, of this one's bucket."""
        limiter = self._of.get(whose)
        if limiter is None:
            limiter = self._of[whose] = Limiter(self._rate)
        return limiter.allows(now)

    def forget(self, whose: object) -> None:
        """It sends nothing any more."""
        self._of.pop(whose, None)
