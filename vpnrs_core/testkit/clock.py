"""Time that a test holds: a plain clock with calls at set times, and an event loop that jumps to its next timer."""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

# Real seconds that a loop waits for a file descriptor when no timer is set; then the test would hang for ever.
PATIENCE = 5.0


class Clock:
    """Monotonic seconds that pass only in `advance`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + delay, next(self._order), call))

    def advance(self, seconds: float) -> None:
        """Let time pass; what is due on the way is called in order, at its own time."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            at, _, call = heapq.heappop(self._due)
            self.now = at
            call()
        self.now = end


class _JumpingSelector(selectors.DefaultSelector):
    """Where a loop would sleep until its next timer, time jumps there."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(PATIENCE if timeout is None else 0)
        if not ready and timeout is None:
            raise RuntimeError("the test waits for something that nobody will do")
        if not ready and timeout is not None and timeout > 0:
            self._clock.now += timeout
        return ready


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock of its own: a test of 30 s of silence takes no time, and always the same course."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        super().__init__(_JumpingSelector(self.clock))

    def time(self) -> float:
        return self.clock.now


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run on a new ClockLoop."""
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        return runner.run(coroutine)


def on_clock(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Decorator: an async test that runs on a ClockLoop. What is due at one time runs before time goes on."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(test(*args, **kwargs))

    return wrapper
