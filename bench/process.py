"""What processes used: CPU time and resident memory, from /proc; what others used of the machine meanwhile; and how a
measurement's own process ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the processes, all threads of each."""
    return sum(sum(user_and_system(pid)) for pid in pids)


def user_and_system(pid: int) -> tuple[float, float]:
    """Seconds in user space and in the kernel, all threads."""
    with open(f"/proc/{pid}/stat") as stream:
        fields = stream.read().rpartition(")")[2].split()
    return int(fields[11]) / _TICKS, int(fields[12]) / _TICKS


def resident(pid: int) -> int:
    """Resident memory in bytes."""
    with open(f"/proc/{pid}/statm") as stream:
        return int(stream.read().split()[1]) * _PAGE


@dataclass(frozen=True)
class Moment:
    """CPU seconds since the machine's start: all that there was, what processes used, what this one and its ended
    children did."""

    total: float
    busy: float
    own: float


def moment() -> Moment:
    """Now. Interrupts belong to nobody and count as idle."""
    with open("/proc/stat") as stream:
        user, nice, system, *rest = map(int, stream.readline().split()[1:9])
    own = os.times()
    busy = user + nice + system
    return Moment(
        (busy + sum(rest)) / _TICKS,
        busy / _TICKS,
        own.user + own.system + own.children_user + own.children_system,
    )


def others_percent(before: Moment, after: Moment) -> float:
    """The part of the machine that processes of others used meanwhile: what a measurement was disturbed by."""
    busy = (after.busy - before.busy) - (after.own - before.own)
    return 100 * max(0.0, busy) / max(after.total - before.total, 1e-9)


def end_cleanly() -> None:
    """From now on SIGTERM and SIGHUP end this process as SIGINT does: what it has made is removed on the way. What is
    ignored (nohup) stays so, and a second one does not disturb the end."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: object) -> None:
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)
