"""When a client tries again: capped exponential backoff with jitter, and an attempt limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# Of a wait that the server asked for, up to this part comes on top, and so many seconds at most: those whom one block
# has sent away do not all come back in the moment when it ends.
SPREAD: Final = 0.1
LONGEST_SPREAD: Final = 30.0


@dataclass(frozen=True)
class BackoffRules:
    """Seconds. `attempts` 0: no limit. A connection counts as a success only once it has lasted `stable`, so that
    loops of connect and drop do reach the limit."""

    first: float = 1.0
    longest: float = 60.0
    jitter: float = 0.5
    attempts: int = 0
    stable: float = 30.0


@dataclass(frozen=True)
class Pause:
    """Until the next attempt: `seconds`, and before `least` seconds nothing makes it worth while."""

    seconds: float
    least: float = 0.0


class Backoff:
    """Pure: durations in, delays out. `uniform` returns a number in [0, 1)."""

    def __init__(self, rules: BackoffRules, uniform: Callable[[], float]) -> None:
        self.rules = rules
        self._uniform = uniform
        self.failures = 0

    def failed(self, lasted: float = 0.0, retry_after: float | None = None) -> Pause | None:
        """An attempt ended after the tunnel was up for `lasted` seconds (0: never) → the wait until the next one, None:
        give up. `retry_after` is the server's wish, honoured as a minimum and spread upwards."""
        if lasted >= self.rules.stable:
            self.failures = 0
        self.failures += 1
        if self.rules.attempts and self.failures >= self.rules.attempts:
            return None
        delay = min(self.rules.longest, self.rules.first * 2.0 ** min(self.failures - 1, 30))
        delay += self.rules.jitter * self._uniform()
        if not retry_after:
            return Pause(delay)
        spread = max(self.rules.jitter, min(SPREAD * retry_after, LONGEST_SPREAD))
        least = retry_after + spread * self._uniform()
        return Pause(max(delay, least), least)
