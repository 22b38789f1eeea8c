"""vpnrs as a user runs it: `vpnrs init`, then `vpnrs run` at both ends."""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import vpnrs_core
from bench.measure import reachable, resident
from bench.peers import Sessions, Tunnel
from bench.topology import SERVER, Ends, wait_for
from vpnrs_core.testkit.netns import Namespace

COMMAND = str(Path(sys.executable).with_name("vpnrs"))
_TARGET = "10.203.0.1"
_PORT = 4433
# One source that opens one session after the other would be held back as a stranger would; here the work is measured.
_UNHURRIED = ("--set", "quic.unauthenticated_cpu=1.0")


class Vpnrs:
    def __init__(self, name: str = "vpnrs", extra: Sequence[str] = ()) -> None:
        """`extra`: more arguments for both ends' `vpnrs run`."""
        self.name = name
        self._extra = tuple(extra)

    def unavailable(self) -> str | None:
        return None if Path(COMMAND).exists() else f"{COMMAND} is missing; make .venv/.ready"

    def version(self) -> str:
        return " ".join([vpnrs_core.__version__, *self._extra])

    @contextmanager
    def tunnel(self, ends: Ends) -> Iterator[Tunnel]:
        with (
            self._pair(ends) as folder,
            self._run(ends.server, folder, "server") as server,
            self._run(ends.client, folder, "client") as client,
        ):
            wait_for("the tunnel", lambda: _alive(server, client) and reachable(ends, _TARGET))
            yield Tunnel(_TARGET, (client.pid, server.pid))

    def sessions(self, ends: Ends, count: int) -> Sessions:
        with self._pair(ends) as folder, self._run(ends.server, folder, "server", *_UNHURRIED) as server:
            wait_for("the server's socket", lambda: _alive(server) and _bound(ends))
            command = [sys.executable, "-m", "bench.handshakes", str(folder / "client.toml"), str(count)]
            opener = ends.client.spawn(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert opener.stdin is not None
            assert opener.stdout is not None
            try:
                if opener.stdout.readline() != "warm\n":
                    raise RuntimeError("the first session was not opened")
                before = resident(server.pid)
                opener.stdin.write("go\n")
                opener.stdin.flush()
                seconds = float(opener.stdout.readline() or "nan")
                if seconds != seconds:
                    raise RuntimeError(f"not all of {count} sessions were opened")
                return Sessions(count / seconds, (resident(server.pid) - before) / count)
            finally:
                opener.stdin.close()
                opener.wait(30)

    @contextmanager
    def _pair(self, ends: Ends) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="vpnrs-bench-") as made:
            folder = Path(made) / "pair"
            where = f"{SERVER}:{_PORT}"
            ends.server.run(
                COMMAND, "init", str(folder), "--listen", where, "--server", where, "--ipv4", "10.203.0.0/16",
                "--instance", f"bench{secrets.token_hex(4)}",
            )  # fmt: skip
            yield folder

    @contextmanager
    def _run(self, namespace: Namespace, folder: Path, role: str, *extra: str) -> Iterator[Any]:
        """`vpnrs run`, stopped by SIGTERM. What it logged is told when something fails meanwhile."""
        log = folder / f"{role}.log"
        with ExitStack() as stack:
            stream = stack.enter_context(log.open("w"))
            process = namespace.spawn(COMMAND, "run", str(folder / f"{role}.toml"), *self._extra, *extra, stderr=stream)
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


def _alive(*processes: Any) -> bool:
    for process in processes:
        if process.poll() is not None:
            raise RuntimeError(f"vpnrs run ended with exit code {process.returncode}")
    return True


def _bound(ends: Ends) -> bool:
    return f":{_PORT} " in ends.server.run("ss", "-Hlun").stdout
