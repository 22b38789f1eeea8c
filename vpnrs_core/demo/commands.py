"""Runs `vpnrs` as a user would, inside a namespace: commands to their end, and `vpnrs run` in the background."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

from vpnrs_core.demo.interrupts import Interrupts
from vpnrs_core.errors import HostError, PeerError
from vpnrs_core.host import namespace
from vpnrs_core.host.rundir import BASE_VARIABLE

# The same interpreter and installation; -P: nothing is imported from the folder that the user happens to be in.
COMMAND: Final = (sys.executable, "-P", "-m", "vpnrs_core")

_COMMAND_LIMIT: Final = 30.0
_GRACE: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Runner:
    """`runs` is the folder that takes the place of /run/vpnrs, so that these instances meet no others."""

    def __init__(self, runs: Path, interrupts: Interrupts) -> None:
        self._environment = {**os.environ, BASE_VARIABLE: str(runs)}
        self._interrupts = interrupts
        self.instances: list[RunningInstance] = []

    def run(self, where: str, *arguments: str) -> str:
        """`vpnrs arguments…` in the namespace `where`, to its end → its standard output. Raises HostError with what it
        said."""
        with self._popen(where, arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                out, error = process.communicate(timeout=_COMMAND_LIMIT)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            said = " | ".join((error or out).decode(errors="replace").splitlines())
            raise HostError(f"vpnrs {arguments[0]}: exit code {process.returncode}: {said or 'it said nothing'}")
        return str(out, errors="replace")

    def start(self, where: str, log: Path, *arguments: str) -> RunningInstance:
        """`vpnrs run arguments…` in the background. It is stopped when this process dies, too."""
        command = ("run", "--log-format", "json", *arguments)
        with log.open("w") as stream, self._interrupts.deferred():
            process = self._popen(where, command, stdout=stream, stderr=stream, preexec_fn=_die_with_parent)
            instance = RunningInstance(process, log)
            self.instances.append(instance)
        return instance

    def _popen(self, where: str, arguments: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
        with namespace.entered(where), self._interrupts.deferred():
            return subprocess.Popen(
                [*COMMAND, *arguments],
                stdin=subprocess.DEVNULL,
                env=self._environment,
                # ^C is the demo's to hear, which then stops both sides in order.
                start_new_session=True,
                **more,
            )

    def end_all(self) -> list[str]:
        """End what was started and still runs → what went wrong with that."""
        for instance in self.instances:
            if instance.process.poll() is None:
                instance.process.terminate()
        return [text for instance in self.instances if (text := instance.reap())]


class RunningInstance:
    """A `vpnrs run` and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def wait_for(self, event: str, seconds: float) -> dict[str, Any]:
        """The first log line of that event. Raises VpnrsError with what it said when it ends before, or stays silent
        for so long."""
        deadline = time.monotonic() + seconds
        with self._log.open() as stream:
            while True:
                ended = self.process.poll() is not None
                for line in _complete_lines(stream):
                    if line.get("event") == event:
                        return line
                if ended:
                    raise HostError(f"vpnrs run: exit code {self.process.returncode}: {self.last_words()}")
                if time.monotonic() > deadline:
                    raise PeerError(f"vpnrs run: no {event} within {seconds:g} s; it said: {self.last_words()}")
                time.sleep(0.01)

    def wait_stopped(self) -> None:
        """Raises VpnrsError unless it ends by itself, with exit code 0."""
        try:
            code = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            raise PeerError(f"vpnrs run: still there {_GRACE:g} s after it was stopped") from None
        if code:
            raise PeerError(f"vpnrs run: exit code {code}: {self.last_words()}")

    def reap(self) -> str:
        """Wait for the end of a process that was told to end, kill it if it must be → what went wrong, or ""."""
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"process {self.process.pid} did not end within {_GRACE:g} s of SIGTERM"
        return ""

    def last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return " | ".join(lines[-3:]) or "nothing"


def _complete_lines(stream: IO[str]) -> list[dict[str, Any]]:
    """The JSON objects that have been written whole since the last time; what else is said is no event."""
    found: list[dict[str, Any]] = []
    while True:
        at = stream.tell()
        line = stream.readline()
        if not line.endswith("\n"):
            stream.seek(at)
            return found
        if line.startswith("{"):
            found.append(json.loads(line))


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
