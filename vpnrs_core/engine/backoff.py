"""When a client tries again: capped exponential backoff with jitter, and an attempt limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class BackoffRules:
    """Seconds. `attempts` 0: no limit. A connection counts as a success only once it has lasted `stable`, so that
    loops of connect and drop do reach the limit."""

    first: float = 1.0
    longest: float = 60.0
    jitter: float = 0.5
    attempts: int = 0
    stable: float = 30.0


class Backoff:
    """Pure: durations in, delays out. `uniform` returns a number in [0, 1)."""

    def __init__(self, rules: BackoffRules, uniform: Callable[[], float]) -> None:
        self.rules = rules
        self._uniform = uniform
        self.failures = 0

    def failed(self, lasted: float = 0.0, retry_after: float | None = None) -> float | None:
        """An attempt ended after the tunnel was up for `lasted` seconds (0: never) → seconds until the next one, None:
        give up. `retry_after` is the server's wish, honoured as a minimum."""
        if lasted >= self.rules.stable:
            self.failures = 0
        self.failures += 1
        if self.rules.attempts and self.failures >= self.rules.attempts:
            return None
        delay = min(self.rules.longest, self.rules.first * 2.0 ** min(self.failures - 1, 30))
        delay += self.rules.jitter * self._uniform()
        return max(delay, retry_after or 0.0)
