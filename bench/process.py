"""What processes used: CPU time and resident memory, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable

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
