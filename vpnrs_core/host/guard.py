"""The guard: a child that waits for the end of this process, and puts the host back if nobody else did.

It is forked before the first change, so it has all it needs in memory: neither an upgrade of the files nor a memory
that is full later keeps it from its work. It holds the lock of the run directory as long as it works, so the next
start waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import select
import signal
import warnings
from typing import Final, Self

from vpnrs_core.errors import HostError
from vpnrs_core.host.journal import Journal
from vpnrs_core.host.netlink import Netlink
from vpnrs_core.host.rundir import RunDir
from vpnrs_core.host.undo import undo_all

log = logging.getLogger("vpnrs.host")

# What the parent says when it ends in order; an end without it is a crash.
_FAREWELL: Final = b"."
# Those that reach a whole process group, a session or a control group: whoever sends them means the parent.
_IGNORED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# What `ps` calls it.
NAME: Final = "vpnrs-guard"
_PR_SET_NAME: Final = 15


class Guard:
    """The parent's handle."""

    def __init__(self, pid: int, pipe: int, pidfd: int) -> None:
        self.pid = pid
        self._pipe = pipe
        self._pidfd = pidfd

    @classmethod
    def start(cls, rundir: RunDir) -> Self:
        """Fork, in the network namespace that is to be guarded. Raises HostError."""
        try:
            parent = os.pidfd_open(os.getpid())
            near, far = os.pipe2(os.O_CLOEXEC)
            with warnings.catch_warnings():
                # The child needs no lock that another thread of ours could hold now.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError as error:
            raise HostError(f"cannot start the process that undoes host changes after a crash: {error}") from error
        if pid == 0:
            _live(rundir, near, parent)
        os.close(near)
        os.close(parent)
        return cls(pid, far, os.pidfd_open(pid))

    def watch(self) -> None:
        """Say so, in the running loop, should the guard end before us."""
        asyncio.get_running_loop().add_reader(self._pidfd, self._died)

    def end(self) -> None:
        """Let it go, without undoing anything; it has ended afterwards."""
        if self._pipe < 0:
            return
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._pidfd)
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, _FAREWELL)
        os.close(self._pipe)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self._pidfd)
        self._pipe = self._pidfd = -1

    def _died(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        log.error(
            "the guard (pid %d) was killed: should this process be killed too, only the next start or 'vpnrs doctor "
            "--fix' puts the host back",
            self.pid,
        )


def _live(rundir: RunDir, pipe: int, parent: int) -> None:
    """The child's whole life. It never returns to what the parent was doing."""
    try:
        os.setsid()
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        ctypes.CDLL(None).prctl(_PR_SET_NAME, NAME.encode(), 0, 0, 0)
        _let_go({0, 1, 2, pipe, parent, rundir.lock})
        # The end of the pipe alone could be somebody's who inherited it: what counts is the end of the process.
        select.select([pipe], [], [])
        if os.read(pipe, 1) != _FAREWELL:
            select.select([parent], [], [])
            asyncio.run(_put_back(rundir))
    except BaseException as error:
        log.error("the guard failed: %s: %s", type(error).__name__, error)
    finally:
        os._exit(0)


def _let_go(keep: set[int]) -> None:
    """Close what was inherited; the numbers stay taken, for objects of the parent's that may close them again."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in keep and number != nowhere:
            with contextlib.suppress(OSError):
                os.dup2(nowhere, number, inheritable=False)


async def _put_back(rundir: RunDir) -> None:
    journal = Journal(rundir.journal)
    if journal.pending:
        async with await Netlink.open() as netlink:
            try:
                undone = await undo_all(netlink, journal, crashed=True)
                log.warning("vpnrs was killed; the guard has undone: %s", "; ".join(undone) or "nothing")
            except HostError as error:
                log.error("vpnrs was killed: %s", error)
    journal.close()
    rundir.release()
