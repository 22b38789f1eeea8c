"""Where attacks happen: a real server, a good client that transfers a file all the while, and an attacker's host.

good client ── server
attacker ───────┘      (half a /24 of source addresses, and a token of its own)
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.netns.stranger import Stranger
from vpnrs_core.testkit.traffic import open_socket
from vpnrs_core.testkit.tunnel import SERVER4, TunnelNet

# Sources that the attacker's host has beside its own.
SOURCES = [f"10.200.1.{n}" for n in range(128, 255)]
SETTINGS: dict[str, Any] = {
    "quic": {"handshake_deadline": 2, "retry_threshold": 8, "max_unauthenticated": 64},
    "session": {"resume_window": 60, "max_sessions_per_principal": 6},
    "plugins": {"ratelimit": {"overall": {"failures": 20, "window": 60, "block": 600}}},
}
# KiB that the server may have kept more than before, after all attacks.
MOST_KIB = 60_000


class Transfer:
    """A file on its way from the good client to the server, as long as the attacks take: never faster than about
    8 MB/s, so that it is still under way when the last one ends."""

    _CHUNK = 16 << 10
    _PAUSE = 0.002
    _PATIENCE = 20.0

    def __init__(self, net: TunnelNet) -> None:
        self.sent, self.got = hashlib.sha256(), hashlib.sha256()
        self.bytes = 0
        self._enough = threading.Event()
        self._failed: list[BaseException] = []
        self._stack = ExitStack()
        listener = self._stack.enter_context(open_socket(net.server_ns, SERVER4, socket.SOCK_STREAM))
        listener.listen(1)
        with net.client_ns[0].entered():
            near = socket.create_connection(listener.getsockname()[:2], self._PATIENCE)
        self._near = self._stack.enter_context(near)
        self._far = self._stack.enter_context(listener.accept()[0])
        self._far.settimeout(self._PATIENCE)
        self._threads = [threading.Thread(target=self._run, args=(part,)) for part in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """The file ends here. Raises AssertionError unless all of it arrived as it was sent, with no pause of 20 s."""
        self._enough.set()
        for thread in self._threads:
            thread.join()
        self._stack.close()
        if self._failed:
            raise AssertionError(f"after {self.bytes} bytes: {self._failed[0]!r}") from self._failed[0]
        assert self.got.digest() == self.sent.digest()

    def _run(self, part: Any) -> None:
        try:
            part()
        except BaseException as error:
            self._failed.append(error)

    def _send(self) -> None:
        while not self._enough.wait(self._PAUSE):
            piece = os.urandom(self._CHUNK)
            self.sent.update(piece)
            self._near.sendall(piece)
        self._near.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        while piece := self._far.recv(1 << 16):
            self.got.update(piece)
            self.bytes += len(piece)


class Field:
    """`attacker` dials as often as it likes; `carol` is somebody else with a token, on the attacker's host."""

    def __init__(self, net: TunnelNet, engine: str = "aioquic") -> None:
        self.net = net
        net.server.configure(SETTINGS)
        if engine != "aioquic":
            net.server.configure({"quic": {"engine": engine}, "plugins": {engine: {}}})
        net.client_ns[1].run("ip", "route", "add", "local", "10.200.1.128/25", "dev", "lo")
        net.up(0)
        self.carol_token = net.new_token("carol").strip()
        self.good = next(s for s in self.sessions() if s["principal"] == "client")
        self.before = self.resources()
        self.transfer = Transfer(net)

    @contextmanager
    def attacker(self) -> Iterator[Stranger]:
        """In a loop that runs; close it with `await one.close()`."""
        yield Stranger(self.net, 1)

    def status(self) -> dict[str, Any]:
        return self.net.server.status()

    def sessions(self) -> list[dict[str, Any]]:
        sessions: list[dict[str, Any]] = self.status()["server"]["sessions"]
        return sessions

    def drops(self, reason: str) -> int:
        return int(self.status()["drops"].get(reason, 0))

    def door(self, what: str) -> int:
        return int(self.status()["server"]["door"].get(what, 0))

    def resources(self) -> tuple[int, int]:
        """(open descriptors, resident KiB) of the server."""
        pid = self.net.server.pid
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        assert found is not None
        return len(os.listdir(f"/proc/{pid}/fd")), int(found[1])

    def is_well(self) -> None:
        """After an attack: nothing of ours failed, and the good client is where it was."""
        log = self.net.server.log
        assert "Traceback" not in log, log[-4000:]
        assert "plugin_failed" not in log
        good = [s for s in self.sessions() if s["principal"] == "client"]
        assert [(s["id"], s["addresses"], s["state"]) for s in good] == [
            (self.good["id"], self.good["addresses"], "active")
        ]
        assert not good[0]["drops"].get("source", 0)
        assert self.net.client.log.count(" connected ") == 1

    def is_clean(self) -> None:
        """At the end: what the attackers had is gone."""
        server = self.net.server
        server.wait_for("alone with the good one", lambda s: len(s["server"]["sessions"]) == 1, 40)
        server.wait_for("rid of strangers", lambda s: not s["server"]["door"].get("waiting", 0), 20)
        # A status request's own socket closes a moment after its answer.
        server.wait_for("rid of sockets", lambda _: self.resources()[0] <= self.before[0] + 1, 5)
        grown = self.resources()[1] - self.before[1]
        assert grown < MOST_KIB, f"{grown} KiB more than before"
        token = (self.net.directory / "pair" / "client.token").read_text().strip()
        for _, log in self.net.logs():
            assert token not in log
            assert self.carol_token not in log
