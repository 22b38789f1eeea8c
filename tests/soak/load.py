"""TCP both ways through the tunnel at a chosen rate, by two threads of this process a direction."""

from __future__ import annotations

import socket
import threading
import time

from vpnrs_core.testkit.netns import Namespace
from vpnrs_core.testkit.traffic import open_socket

_CHUNK = bytes(16 * 1024)
# Seconds in which nothing moves: the tunnel has stalled.
_PATIENCE = 30.0


class Load:
    """Begins when made; `wait` joins it, and raises what went wrong on the way."""

    def __init__(self, client: Namespace, server: Namespace, address: str, seconds: float, mbits: float) -> None:
        self._until = time.monotonic() + seconds
        self._pause = len(_CHUNK) * 8 / (mbits * 1e6)
        self._failures: list[BaseException] = []
        self.sent: dict[str, int] = {}
        self.received: dict[str, int] = {}
        with open_socket(server, address, socket.SOCK_STREAM) as listener:
            listener.listen(1)
            with client.entered():
                near = socket.create_connection(listener.getsockname()[:2], _PATIENCE)
            far, _ = listener.accept()
        far.settimeout(_PATIENCE)
        self._ends = {"client": near, "server": far}
        self._threads = [
            threading.Thread(target=self._contained, args=(act, name))
            for name in self._ends
            for act in (self._send, self._receive)
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()
        for end in self._ends.values():
            end.close()
        if self._failures:
            raise self._failures[0]
        assert self.received == {"server": self.sent["client"], "client": self.sent["server"]}

    def _contained(self, act: object, name: str) -> None:
        try:
            assert callable(act)
            act(name, self._ends[name])
        except BaseException as error:
            self._failures.append(error)

    def _send(self, name: str, end: socket.socket) -> None:
        sent, due = 0, time.monotonic()
        while time.monotonic() < self._until:
            end.sendall(_CHUNK)
            sent += len(_CHUNK)
            due += self._pause
            time.sleep(max(0.0, due - time.monotonic()))
        self.sent[name] = sent
        end.shutdown(socket.SHUT_WR)

    def _receive(self, name: str, end: socket.socket) -> None:
        received = 0
        while data := end.recv(1 << 18):
            received += len(data)
        self.received[name] = received
