"""SIGINT, SIGTERM and SIGHUP as an exception, until the cleaning begins: that is never interrupted."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """The demo was told to end. Not an Exception: no step may take it for its own failure."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


class Interrupts:
    """`received` is the number of the first signal, 0: none came."""

    def __init__(self) -> None:
        self.received = 0
        self._held = False
        self._former: dict[signal.Signals, Any] = {}

    def hold(self) -> None:
        """From now on signals are noted and nothing else."""
        self._held = True

    def check(self) -> None:
        """Raises Interrupted when a signal came while it was deferred, or its exception was lost."""
        if self.received and not self._held:
            raise Interrupted(self.received)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """A signal is raised at the end of the block: around the start of a process, for Python swallows what is
        raised in the callbacks of fork."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before
        self.check()

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            # `nohup` and the like: what is ignored stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._former[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        if not self._held:
            raise Interrupted(self.received)
