"""Whose code keeps the loop from everything else: a thread looks at the loop's stack twenty times a second.

The path of packets pays nothing for it, and every kind of call is seen: stages, codecs, callbacks, steps of services.
What is named has lasted for `BOUND` as far as could be seen, which a call of BOUND + 2 INTERVAL has. Not seen is
native code that never lets another thread run.

Time in which the loop's thread was ready and the machine did not run it is nobody's fault and not counted, nor is time
in which this thread was kept from looking too. Waiting for memory from swap, or for another thread of the process that
computes, is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from vpnrs_core.engine.containment import Owners
from vpnrs_core.events import PluginSlow

# Seconds: between looks, that a call may take, after which one that goes on is told, between events about a plugin.
INTERVAL = 0.05
BOUND = 0.1
STUCK = 5.0
QUIET = 10.0

# A look that comes later than this was kept from coming: the process was stopped, or the machine is starved.
_LATE = 1.5 * INTERVAL
# What is called directly from here is one turn, with a frame of its own. Loops that have no such frame are not watched.
_RUN_ONCE = BaseEventLoop._run_once.__code__  # type: ignore[attr-defined]

Told = Callable[[PluginSlow], None]


@dataclass(frozen=True)
class Reading:
    """Seconds: the clock, and for how long the loop's thread has run and been kept waiting for a processor."""

    wall: float
    cpu: float = 0.0
    starved: float = 0.0


@dataclass
class _Call:
    """One call of plugin code, in one turn of the loop. Frames are kept so that no later one can have their place."""

    plugin: str
    entered: FrameType
    turn: FrameType
    where: str
    first: Reading
    last: Reading
    unseen: float = 0.0
    told: bool = False

    def seen(self, now: Reading) -> None:
        blocked = (now.wall - self.last.wall) - (now.cpu - self.last.cpu)
        self.unseen += max(0.0, blocked - _LATE)
        self.last = now

    def seconds(self, starved: float) -> float:
        """`starved`: a later reading's, for the kernel adds up a wait when it is over."""
        ran = self.last.cpu - self.first.cpu
        blocked = (self.last.wall - self.first.wall) - self.unseen - ran - (starved - self.first.starved)
        return ran + max(0.0, blocked)


class Judgement:
    """What the looks add up to. `slow` is told of a call when it is over, at most once in QUIET a plugin; `stuck` once
    of one that goes on. `counts` holds all slow calls by plugin."""

    def __init__(self, owners: Owners, slow: Told, stuck: Told) -> None:
        self._owners = owners
        self._slow = slow
        self._stuck = stuck
        self._call: _Call | None = None
        self._told_at: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def look(self, frame: FrameType | None, read: Callable[[], Reading]) -> None:
        """`frame` is the innermost of the loop's thread now. `read` is called when plugin code is, or was, running."""
        found = self._inside(frame)
        call = self._call
        if found is None and call is None:
            return
        now = read()
        if call is not None and found is not None and call.entered is found[1] and call.turn is found[3]:
            call.seen(now)
            call.where = _place(found[2])
            self._goes_on(call)
            return
        if call is not None:
            self._over(call, now)
        self._call = None if found is None else _Call(found[0], found[1], found[3], _place(found[2]), now, now)

    def _inside(self, frame: FrameType | None) -> tuple[str, FrameType, FrameType, FrameType] | None:
        """The plugin whose code is innermost, its outermost and innermost frame, and the turn's."""
        plugin: str | None = None
        entered = last = None
        while frame is not None:
            owner = self._owners.of_module(str(frame.f_globals.get("__name__", "")))
            if owner is not None and plugin in (None, owner):
                plugin, entered, last = owner, frame, last or frame
            outer = frame.f_back
            if outer is not None and outer.f_code is _RUN_ONCE:
                return None if plugin is None or entered is None or last is None else (plugin, entered, last, frame)
            frame = outer
        return None

    def _goes_on(self, call: _Call) -> None:
        seconds = call.seconds(call.last.starved)
        if seconds >= STUCK and not call.told:
            call.told = True
            self._stuck(_event(call, seconds))

    def _over(self, call: _Call, now: Reading) -> None:
        seconds = call.seconds(now.starved)
        if seconds < BOUND:
            return
        self.counts[call.plugin] = self.counts.get(call.plugin, 0) + 1
        if now.wall - self._told_at.get(call.plugin, float("-inf")) >= QUIET:
            self._told_at[call.plugin] = now.wall
            self._slow(_event(call, seconds))


class Watch:
    """The thread. Made and stopped in the loop's own; `told` is called there, `stuck` in the watch's."""

    def __init__(self, owners: Owners, told: Told, stuck: Told) -> None:
        self._loop = asyncio.get_running_loop()
        self._told = told
        self.judgement = Judgement(owners, self._over_to_loop, stuck)
        self._watched = threading.get_ident()
        self._schedstat = -1
        with contextlib.suppress(OSError):  # a kernel without it: a starved machine can be blamed on a plugin
            self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        self._end = threading.Lock()
        self._end.acquire()
        self._thread = threading.Thread(target=self._run, name="vpnrs-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.release()
        self._thread.join()
        if self._schedstat >= 0:
            os.close(self._schedstat)

    def _run(self) -> None:
        while not self._end.acquire(timeout=INTERVAL):
            self.judgement.look(sys._current_frames().get(self._watched), self._read)

    def _read(self) -> Reading:
        """See proc(5): nanoseconds on a processor, nanoseconds in a run queue."""
        if self._schedstat < 0:
            return Reading(time.monotonic())
        cpu, starved, _ = os.pread(self._schedstat, 100, 0).split()
        return Reading(time.monotonic(), int(cpu) / 1e9, int(starved) / 1e9)

    def _over_to_loop(self, event: PluginSlow) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._told, event)


def _event(call: _Call, seconds: float) -> PluginSlow:
    return PluginSlow(
        plugin=call.plugin, what=call.entered.f_code.co_qualname, seconds=round(seconds, 2), where=call.where
    )


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
