"""An instance that a test runs as a user would, `vpnrs run CONFIG` in a namespace, seen through its status socket."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from vpnrs_core.cli import main
from vpnrs_core.config.write import to_toml
from vpnrs_core.engine.local_client import LocalClient
from vpnrs_core.errors import HostError, NotRunning, PeerError
from vpnrs_core.host.guard import NAME as GUARD
from vpnrs_core.host.rundir import BASE_VARIABLE
from vpnrs_core.testkit.forkserver import ForkedProcess
from vpnrs_core.testkit.netns import Namespace

# The command as it is installed beside this interpreter.
VPNRS = str(Path(sys.executable).with_name("vpnrs"))
# Seconds for a start, a connect or an end, on a machine that is busy with other tests.
PATIENCE = 30.0
_POLL = 0.02


def run_vpnrs(*arguments: str, run_dir: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command of `vpnrs`, outside all namespaces: the local sockets are files. Raises HostError with the output
    when `check` and it failed."""
    command = [VPNRS, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, env={**os.environ, BASE_VARIABLE: str(run_dir)}
    )
    if check and done.returncode:
        raise HostError(f"vpnrs {' '.join(arguments)}: exit {done.returncode}: {done.stderr or done.stdout}")
    return done


def run_here(*arguments: str) -> str:
    """A command of `vpnrs` that works on files only, in this process, which has imported most of it: that saves a third
    of a second → its standard output. Raises HostError with what it said on failure."""
    output, errors = io.StringIO(), io.StringIO()
    code: object = 0
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
    if code:
        raise HostError(f"vpnrs {' '.join(arguments)}: exit {code}: {errors.getvalue()}")
    return output.getvalue()


class RunningInstance:
    """`config` is its file, changed with `configure` before `start`; `log` is what it wrote to stderr since the
    beginning, restarts included. Named after `instance` in the configuration."""

    def __init__(self, namespace: Namespace, config: Path, run_dir: Path, env: Mapping[str, str] | None = None) -> None:
        self.namespace = namespace
        self.config = config
        self.run_dir = run_dir
        self.env = dict(env or {})
        self.name: str = tomllib.loads(config.read_text())["instance"]
        self.process: subprocess.Popen[Any] | ForkedProcess | None = None
        self._log = config.parent / f"{self.name}.log"

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Merge tables and keys into the file; None takes a key out."""
        self.config.write_text(to_toml(_merged(tomllib.loads(self.config.read_text()), changes)))

    def start(self, *options: str) -> None:
        """`vpnrs run CONFIG options`, without waiting for anything."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        environment = {**os.environ, BASE_VARIABLE: str(self.run_dir), **self.env}
        with self._log.open("ab") as log:
            self.process = self.namespace.fork_vpnrs("run", str(self.config), *options, output=log, env=environment)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def status(self) -> dict[str, Any]:
        """What `vpnrs status --json` prints. Raises NotRunning, PeerError."""
        with self._environment(), LocalClient(self.name) as client:
            answer: dict[str, Any] = client.call("core.status")
        return answer

    def wait_for(self, what: str, true: Callable[[dict[str, Any]], Any], patience: float = PATIENCE) -> dict[str, Any]:
        """The first status for which `true`. Raises HostError with the log when the instance has ended or `patience`
        seconds have passed."""
        deadline = time.monotonic() + patience
        status: dict[str, Any] = {}
        while True:
            try:
                status = self.status()
                if true(status):
                    return status
            except (NotRunning, PeerError):
                pass
            if not self.running:
                code = None if self.process is None else self.process.returncode
                raise HostError(f"{self.name} ended (exit code {code}) before it was {what}:\n{self.log}")
            if time.monotonic() > deadline:
                raise HostError(f"{self.name} was not {what} within {patience:g} s; {status}\n{self.log}")
            time.sleep(_POLL)

    def wait_state(self, state: str, patience: float = PATIENCE) -> dict[str, Any]:
        """As `wait_for`, for `listening`, `connected`, `waiting` …"""
        return self.wait_for(state, lambda status: status["state"] == state, patience)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"{self.name} was never started"
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit code. Raises HostError with the log when it does not end."""
        assert self.process is not None, f"{self.name} was never started"
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise HostError(f"{self.name} did not end within {patience:g} s:\n{self.log}") from None

    def stop(self, patience: float = PATIENCE) -> int:
        """SIGTERM → the exit code."""
        if self.running:
            self.signal(signal.SIGTERM)
        return self.wait(patience)

    def stop_by_command(self) -> int:
        """`vpnrs stop`, in this process → the exit code of the instance. Raises HostError when the command fails."""
        with self._environment():
            run_here("stop", "--instance", self.name)
        return self.wait()

    def kill(self, *, guard: bool = False) -> None:
        """SIGKILL; the guard puts the host back, and has when this returns. `guard`: it is killed before, so nothing of
        ours runs any more, nothing is undone."""
        pid = self.guard_pid()
        fd = None if pid is None else os.pidfd_open(pid)
        if guard and pid is not None:
            os.kill(pid, signal.SIGKILL)
        self.signal(signal.SIGKILL)
        self.wait()
        if fd is not None:
            ended = select.select([fd], [], [], PATIENCE)[0]
            os.close(fd)
            if not ended:
                raise HostError(f"the guard of {self.name} (pid {pid}) did not end within {PATIENCE:g} s")

    def guard_pid(self) -> int | None:
        """The guard's, None: there is none (yet)."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        for pid in children.read_text().split() if children.exists() else ():
            if Path(f"/proc/{pid}/comm").read_text().strip() == GUARD:
                return int(pid)
        return None

    @contextmanager
    def _environment(self) -> Iterator[None]:
        before = os.environ.get(BASE_VARIABLE)
        os.environ[BASE_VARIABLE] = str(self.run_dir)
        try:
            yield
        finally:
            if before is None:
                del os.environ[BASE_VARIABLE]
            else:
                os.environ[BASE_VARIABLE] = before


def _merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(old)
    for key, value in changes.items():
        if value is None:
            new.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(new.get(key), Mapping):
            new[key] = _merged(new[key], value)
        else:
            new[key] = value
    return new
