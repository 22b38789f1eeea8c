"""vpnrs as a user runs it: `vpnrs init`, then `vpnrs run` at both ends."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import vpnrs_core
from bench.peers import Sessions, Tunnel
from bench.pings import reachable
from bench.process import cpu_seconds, resident
from bench.topology import Ends, wait_for
from vpnrs_core.testkit.netns import Namespace

COMMAND = str(Path(sys.executable).with_name("vpnrs"))
TARGET = "10.203.0.1"
_PORT = 4433
# One source that opens one session after the other would be held back as a stranger would; here the work is measured.
_UNHURRIED = tuple(
    word
    for setting in (
        "quic.unauthenticated_cpu=1.0",
        "session.max_sessions=5000",
        "session.max_sessions_per_principal=5000",
    )
    for word in ("--set", setting)
)


# Why a queue of our own drops: full, waited too long, or the kernel took no more.
_QUEUES = ("queue_overflow", "queue_delay", "tun_write")
# Seconds for a start on a machine that is busy otherwise, and for the MTU to be found out.
_START, _PROBED = 60.0, 10.0
_MTU = re.compile(r": (?:vpnrs\S*): .* mtu (\d+) ")
_FIRST_MTU = 1280


class Vpnrs:
    """One engine at both ends."""

    def __init__(self, engine: str, extra: Sequence[str] = ()) -> None:
        """`extra`: more arguments for both ends' `vpnrs run`."""
        self.name = f"vpnrs, {engine}"
        self.port = _PORT
        self._engine = engine
        named = () if engine == "aioquic" else ("-p", engine)  # the one is built in, another is a plugin
        self._extra = (*named, *extra)

    def unavailable(self) -> str | None:
        return None if Path(COMMAND).exists() else f"{COMMAND} is missing; make .venv/.ready"

    def version(self) -> str:
        return f"{vpnrs_core.__version__}, {self._engine} {version(self._engine)}"

    @contextmanager
    def tunnel(self, ends: Ends) -> Iterator[Tunnel]:
        with (
            self.pair(ends) as folder,
            self.run(ends.server, folder, "server") as server,
            self.run(ends.client, folder, "client") as client,
        ):
            wait_for("the tunnel", lambda: _alive(server, client) and reachable(ends, TARGET), _START)
            _await_mtu(ends)
            yield Tunnel(TARGET, (client.pid, server.pid), lambda: _dropped(folder, "client", "server"))

    def sessions(self, ends: Ends, count: int, hold: float) -> Sessions:
        with self.pair(ends) as folder, self.run(ends.server, folder, "server", *_UNHURRIED) as server:
            wait_for("the server's socket", lambda: _alive(server) and _bound(ends), _START)
            command = [sys.executable, "-m", "bench.handshakes", str(folder / "client.toml"), str(count), self._engine]
            opener = ends.client.spawn(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                return self._opened(opener, folder, server.pid, count, hold)
            finally:
                opener.stdin.close()
                opener.wait(30)

    def _opened(self, opener: Any, folder: Path, pid: int, count: int, hold: float) -> Sessions:
        if opener.stdout.readline() != "warm\n":
            raise RuntimeError("the first session was not opened")
        before = resident(pid)
        opener.stdin.write("go\n")
        opener.stdin.flush()
        seconds = float(opener.stdout.readline() or "nan")
        if seconds != seconds:
            raise RuntimeError(f"not all of {count} sessions were opened")
        if not hold:
            return Sessions(count / seconds, (resident(pid) - before) / count)
        used = cpu_seconds([pid])
        time.sleep(hold)
        used = cpu_seconds([pid]) - used
        sessions = status(folder, "server")["server"]["sessions"]
        # The one that warmed up is of the same kind.
        missed = count + 1 - sum(session["state"] == "active" for session in sessions)
        return Sessions(count / seconds, (resident(pid) - before) / count, missed, 100 * used / hold)

    @contextmanager
    def pair(self, ends: Ends) -> Iterator[Path]:
        """What `vpnrs init` writes, in a folder that is removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="vpnrs-bench-") as made:
            folder = Path(made) / "pair"
            ends.server.run(
                COMMAND, "init", str(folder), "--listen", f"{ends.address}:{_PORT}",
                "--server", f"{ends.dial}:{_PORT}", "--ipv4", "10.203.0.0/16",
                "--instance", f"bench{secrets.token_hex(4)}",
            )  # fmt: skip
            yield folder

    @contextmanager
    def run(self, namespace: Namespace, folder: Path, role: str, *extra: str, name: str | None = None) -> Iterator[Any]:
        """`vpnrs run`, stopped by SIGTERM. What it logged is told when something fails meanwhile. `name` tells several
        of one role apart."""
        name = name or role
        log = folder / f"{name}.log"
        with ExitStack() as stack:
            stream = stack.enter_context(log.open("w"))
            process = namespace.spawn(
                COMMAND, "run", str(folder / f"{role}.toml"), "--set", f"quic.engine={self._engine}",
                *self._extra, *extra, env=_environment(folder, name), stderr=stream,
            )  # fmt: skip
            try:
                yield process
            except Exception as error:
                tail = log.read_text().splitlines()[-5:]
                raise RuntimeError(f"{error}; the {role} said: {' | '.join(tail) or 'nothing'}") from error
            finally:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(15)


def _await_mtu(ends: Ends) -> None:
    """Until both ends have found out what the path carries; a path that carries no more than the first MTU is measured
    with that."""
    deadline = time.monotonic() + _PROBED
    while time.monotonic() < deadline:
        found = [_MTU.search(end.run("ip", "-o", "link").stdout) for end in (ends.client, ends.server)]
        if all(one and int(one[1]) > _FIRST_MTU for one in found):
            return
        time.sleep(0.1)


def _environment(folder: Path, role: str) -> dict[str, str]:
    """With a run directory in the folder of the pair, where `vpnrs status` finds the instance."""
    return {**os.environ, "VPNRS_RUN_DIR": str(folder / f"run-{role}")}


def status(folder: Path, role: str) -> Any:
    """What `vpnrs status --json` says of one end."""
    instance = next((folder / f"run-{role}").iterdir()).name
    asked = subprocess.run(
        [COMMAND, "status", "--instance", instance, "--json"],
        env=_environment(folder, role), capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    return json.loads(asked.stdout)


def _dropped(folder: Path, *roles: str) -> int:
    """Packets that queues of both ends have dropped so far."""
    total = 0
    for role in roles:
        said = status(folder, role)
        peer = said["server"]["sessions"] if role == "server" else [said["client"]["session"]]
        drops = [one["drops"] for one in (said, *filter(None, peer))]
        total += sum(found.get(reason, 0) for found in drops for reason in _QUEUES)
    return total


def _alive(*processes: Any) -> bool:
    for process in processes:
        if process.poll() is not None:
            raise RuntimeError(f"vpnrs run ended with exit code {process.returncode}")
    return True


def _bound(ends: Ends) -> bool:
    return f":{_PORT} " in ends.server.run("ss", "-Hlun").stdout
