"""What a principal has used of its quota. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vpnrs_quota.config import Limits


class Account:
    """`used` bytes since the period began, of which `unsaved` are not in the store yet."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name, self.limits = name, limits
        self.used = 0
        self.unsaved = 0
        self._ends: float | None = None

    def spend(self, size: int, now: float) -> bool:
        """Whether it was within the quota. What does not fit any more uses up the rest: the session ends by it."""
        self._roll(now)
        if self.limits.bytes is not None and self.used + size > self.limits.bytes:
            self.unsaved += self.limits.bytes - self.used
            self.used = self.limits.bytes
            return False
        if self._ends is None and self.limits.period is not None:
            self._ends = now + self.limits.period
        self.used += size
        self.unsaved += size
        return True

    def left(self, now: float) -> int | None:
        """Bytes; None: no limit."""
        self._roll(now)
        return None if self.limits.bytes is None else max(0, self.limits.bytes - self.used)

    def again_in(self, now: float) -> float | None:
        """Seconds until the bytes begin again, None: never."""
        return None if self._ends is None else max(0.0, self._ends - now)

    def learn(self, stored: int) -> None:
        """What the store says, where other servers count too."""
        self.used = stored + self.unsaved

    def reset(self) -> None:
        self.used = self.unsaved = 0
        self._ends = None

    def _roll(self, now: float) -> None:
        if self._ends is not None and now >= self._ends:
            self.reset()


class Accounts:
    """One for each principal that was seen."""

    def __init__(self, limits: Callable[[str], Limits]) -> None:
        self._limits = limits
        self._known: dict[str, Account] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(list(self._known.values()))

    def of(self, name: str) -> Account:
        if name not in self._known:
            self._known[name] = Account(name, self._limits(name))
        return self._known[name]
