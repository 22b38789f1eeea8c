"""No picture of this process's memory is left behind when it crashes: tokens, keys and traffic stand in it."""

from __future__ import annotations

import resource


def forbid() -> None:
    """For this process and those that it starts. One byte is too few for a file, and is what tells the kernel not to
    start a handler either (fs/coredump.c); zero would say so to files only."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == resource.RLIM_INFINITY or hard >= 1:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
