"""The commands' side of the local sockets: synchronous, imports nothing heavy."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any, Literal, Self

from vpnrs_core.engine import local_protocol as protocol
from vpnrs_core.errors import ConfigError, HostError, NotRunning, PeerError, VpnrsError
from vpnrs_core.host.rundir import base_directory, instance_directory, running_pid

# Seconds until another try at a socket with too many waiting.
_AGAIN = 0.02


class LocalClient:
    """A connection to a running instance, opened by the first call. `timeout` is seconds for each call.

    The status socket answers what only reads; "control" is for root and the instance's own user, "summary" for all."""

    def __init__(
        self,
        instance: str = "default",
        socket: Literal["status", "control", "summary"] = "status",
        timeout: float = 10.0,
    ) -> None:
        self.instance = instance
        self._name = socket
        self._timeout = timeout
        self._connection: Any = None
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, request_name: str, /, **request: Any) -> Any:
        """Ask `core.status` and the like → the result's JSON.

        Raises NotRunning, HostError (no permission), ConfigError (the request is wrong) and PeerError (the instance
        failed, or does not answer)."""
        connection = self._connection = self._connection or self._connect()
        self._number += 1
        try:
            connection.settimeout(self._timeout)
            connection.sendall(protocol.request(self._number, request_name, request))
            answer = protocol.unpack(
                _receive(
                    connection, protocol.body_size(_receive(connection, protocol.HEADER.size), protocol.MAX_ANSWER)
                )
            )
        except TimeoutError:
            self.close()
            raise PeerError(
                f"instance {self.instance!r} did not answer {request_name} in {self._timeout:g} s"
            ) from None
        except (OSError, EOFError):
            self.close()
            raise PeerError(
                f"instance {self.instance!r} closed the connection before it answered {request_name}"
            ) from None
        except protocol.BadMessage as error:
            self.close()
            raise PeerError(f"instance {self.instance!r} answered {request_name} wrongly: {error}") from None
        if answer.get("ok") is True:
            return answer.get("result")
        raise _error(answer.get("error"))

    def _connect(self) -> socket.socket:
        path = instance_directory(self.instance) / self._name
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(self._timeout)
        try:
            _connect_in_turn(connection, path, self._timeout)
        except BlockingIOError:
            connection.close()
            raise PeerError(
                f"instance {self.instance!r} is too busy: its socket took nobody in {self._timeout:g} s"
            ) from None
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            raise not_running(self.instance) from None
        except PermissionError:
            connection.close()
            who = "root or a member of the group vpnrs" if self._name == protocol.STATUS else "root"
            raise NoPermission(f"{path}: no permission to ask instance {self.instance!r}; be {who}") from None
        except OSError as error:
            connection.close()
            raise HostError(f"{path}: cannot reach instance {self.instance!r}: {error.strerror or error}") from None
        return connection


class NoPermission(HostError):
    """This user may not ask on that socket."""


def not_running(instance: str) -> NotRunning:
    """The error that names those which do run."""
    others = running_instances()
    running = f"running: {', '.join(others)}; name one with --instance" if others else "none is running on this host"
    return NotRunning(f"instance {instance!r} is not running; {running}")


def running_instances() -> list[str]:
    """Names of the instances that answer on their status socket (or would, to someone else), sorted."""
    try:
        folders = sorted(base_directory().iterdir())
    except OSError:
        return []
    return [folder.name for folder in folders if _listens(folder / protocol.STATUS)]


def choose_instance(name: str | None) -> str:
    """The instance that a command means: the named one, else `default`, else the only one that runs. Raises
    ConfigError when that leaves several."""
    if name is not None:
        return name
    running = running_instances()
    if "default" in running or not running:
        return "default"
    if len(running) > 1:
        raise ConfigError(f"several instances run: {', '.join(running)}; name one with --instance")
    return running[0]


def wait_until_gone(instance: str, timeout: float) -> bool:
    """Wait until the instance has given up its sockets and its lock. False: it has not within `timeout` seconds."""
    path = instance_directory(instance) / protocol.STATUS
    deadline = time.monotonic() + timeout
    while _listens(path) or running_pid(instance) is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _connect_in_turn(connection: socket.socket, path: Path, timeout: float) -> None:
    """Connect. An instance that is busy lets only so many wait; one more tries again for `timeout` seconds, and then
    BlockingIOError is raised."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.connect(str(path))
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_AGAIN)
        else:
            return


def _listens(path: Path) -> bool:
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        probe.settimeout(1.0)
        probe.connect(str(path))
    except (PermissionError, BlockingIOError):
        return True  # closed to us, or so busy that it has a queue
    except OSError:
        return False
    finally:
        probe.close()
    return True


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(min(size - len(data), 1 << 16))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _error(answer: Any) -> VpnrsError:
    error = answer if isinstance(answer, dict) else {}
    code, text = error.get("code"), str(error.get("text", "the instance gave no reason"))
    if code in (protocol.BAD_REQUEST, protocol.UNKNOWN_REQUEST, protocol.REFUSED):
        return ConfigError(text)
    return HostError(text) if code == protocol.NOT_ALLOWED else PeerError(text)
