"""A bare packet loop from outside this repository, run in turn: what moving packets costs without the product.

`--yardstick DIR` names a folder with `loop.py`, which is run as `loop.py server` and `loop.py client` in a folder that
has a copy of it, `cert.pem` and `key.pem`. It finds 10.9.0.1 (the server's) and 10.9.0.2 on the wire, and makes a TUN
with 10.30.0.1 at the server's end and 10.30.0.2 at the client's. It ends by itself after $DUR seconds, or at SIGTERM.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.peers import Sessions, Tunnel
from bench.pings import reachable
from bench.topology import Ends, wait_for
from vpnrs_core.quic.identity import make_certificate
from vpnrs_core.testkit.netns import Namespace

_TARGET = "10.30.0.1"
# Longer than all parts of a turn together.
_SECONDS = "600"


class Yardstick:
    name = "bare loop"
    port = 5557

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def unavailable(self) -> str | None:
        return None if (self._folder / "loop.py").exists() else f"{self._folder / 'loop.py'} does not exist"

    def version(self) -> str:
        return "not of this repository"

    @contextmanager
    def tunnel(self, ends: Ends) -> Iterator[Tunnel]:
        with tempfile.TemporaryDirectory(prefix="yardstick-") as made:
            folder = Path(made)
            for source in self._folder.glob("*.py"):
                shutil.copy(source, folder)
            pair = make_certificate("x")
            (folder / "cert.pem").write_bytes(pair.certificate)
            (folder / "key.pem").write_bytes(pair.key)
            ends.server.run("ip", "address", "add", "10.9.0.1/24", "dev", "client")
            ends.client.run("ip", "address", "add", "10.9.0.2/24", "dev", "server")
            running: list[Any] = []
            try:
                running.append(_start(ends.server, folder, "server"))
                wait_for("its socket", lambda: ":5557 " in ends.server.run("ss", "-Hlun").stdout)
                running.append(_start(ends.client, folder, "client"))
                wait_for("the bare loop", lambda: _alive(running) and reachable(ends, _TARGET))
                yield Tunnel(_TARGET, (running[1].pid, running[0].pid))
            finally:
                for process in running:
                    process.terminate()
                for process in running:
                    try:
                        process.wait(5)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait(5)

    def sessions(self, ends: Ends, count: int, hold: float) -> Sessions | None:
        return None


def _start(namespace: Namespace, folder: Path, role: str) -> Any:
    script = f"cd '{folder}' && exec '{sys.executable}' loop.py {role}"
    with (folder / f"{role}.log").open("w") as log:
        return namespace.spawn("sh", "-c", script, env={**os.environ, "DUR": _SECONDS}, stdout=log, stderr=log)


def _alive(running: list[Any]) -> bool:
    for process in running:
        if process.poll() is not None:
            raise RuntimeError(f"the bare loop ended with exit code {process.returncode}")
    return True
