"""The instance's local sockets: `status` for questions, `control` for commands of root or the instance's own user,
`summary` for everybody."""

from __future__ import annotations

import asyncio
import grp
import json
import logging
import os
import socket
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pydantic
from pydantic_core import PydanticSerializationError

from vpnrs_core.config.explain import explain, nearest
from vpnrs_core.engine import local_protocol as protocol
from vpnrs_core.errors import HostError, VpnrsError
from vpnrs_core.host.rundir import GROUP
from vpnrs_core.interfaces import ControlRequest

log = logging.getLogger("vpnrs.local")

MAX_CLIENTS = 32
_PAUSE = 0.5
_UCRED = struct.Struct("3i")
_MODES = {protocol.STATUS: 0o660, protocol.CONTROL: 0o600, protocol.SUMMARY: 0o666}


class LocalSockets:
    """Serves `handlers` (complete name, `core.status`, → request) on the sockets in `directory`.

    A client that does not finish its request, or take its answer, within `patience` seconds is dropped, as is one
    that comes when `max_clients` are connected to the same socket."""

    def __init__(
        self,
        directory: Path,
        handlers: Mapping[str, ControlRequest],
        *,
        max_clients: int = MAX_CLIENTS,
        patience: float = 10.0,
    ) -> None:
        self._directory = directory
        self._handlers = handlers
        self._max_clients = max_clients
        self._patience = patience
        self._listening: list[socket.socket] = []
        self._clients: dict[str, set[asyncio.Task[None]]] = {name: set() for name in _MODES}

    async def start(self) -> None:
        """Open all. Raises HostError; then none is left behind."""
        try:
            for name, mode in _MODES.items():
                await self._open(name, mode)
        except OSError as error:
            await self.close()
            raise HostError(
                f"{self._directory}: cannot open the local sockets there: {error.strerror or error}"
            ) from error

    async def close(self) -> None:
        """End all conversations and remove the sockets."""
        for listening in self._listening:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        self._listening = []
        # A command that closes us is itself one of the conversations: it ends after its answer.
        tasks = {task for tasks in self._clients.values() for task in tasks} - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in self._clients:
            (self._directory / name).unlink(missing_ok=True)

    async def _open(self, name: str, mode: int) -> None:
        path = self._directory / name
        # Whoever holds the instance's lock owns the directory: what is there was left by a crash.
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        except OSError:
            listening.close()
            raise
        finally:
            os.umask(before)
        if mode & 0o070 == 0o060:
            _share(path)
        os.chmod(path, mode)

        listening.listen(self._max_clients)
        self._listening.append(listening)
        self._watch(name, listening)

    def _watch(self, name: str, listening: socket.socket) -> None:
        if listening in self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, name, listening)

    def _accept(self, name: str, listening: socket.socket) -> None:
        """Every connection belongs to a task of ours from its first moment on, so that `close` misses none."""
        loop, clients = asyncio.get_running_loop(), self._clients[name]
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # Out of descriptors: others have to close some first, and until then the socket stays readable.
            log.warning("%s socket: %s", name, error.strerror)
            loop.remove_reader(listening)
            loop.call_later(_PAUSE, self._watch, name, listening)
            return
        connection.setblocking(False)
        if len(clients) >= self._max_clients:
            log.warning("%s socket: %d clients are connected, one more was turned away", name, len(clients))
            connection.close()
            return
        task = asyncio.create_task(self._serve(name, connection))
        clients.add(task)
        task.add_done_callback(clients.discard)
        # In a callback: a task that is cancelled before its first step runs no `finally`.
        task.add_done_callback(partial(_close, connection))

    async def _serve(self, name: str, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=protocol.MAX_MESSAGE)
        try:
            await self._converse(name, reader, writer)
        except (OSError, EOFError, TimeoutError):
            pass  # gone, or too slow: it loses its own answer only
        finally:
            # What a slow client has not taken by now is not kept for it.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass

    async def _converse(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        user = _peer_user(writer)
        if name == protocol.CONTROL and user not in (0, os.getuid()):
            # The mode keeps others out already; this holds where the file system does not.
            await self._send(
                writer, protocol.error(None, protocol.NOT_ALLOWED, f"user {user} may not control this instance")
            )
            return
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    header = await reader.readexactly(protocol.HEADER.size)
                    message = protocol.unpack(await reader.readexactly(protocol.body_size(header)))
            except protocol.BadMessage as error:
                await self._send(writer, protocol.error(None, protocol.BAD_REQUEST, str(error)))
                return
            await self._send(writer, await self._answer(name, message))

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        async with asyncio.timeout(self._patience):
            await writer.drain()

    async def _answer(self, socket_name: str, message: dict[str, Any]) -> bytes:
        number, name = message.get("id"), message.get("name")
        handler = self._handlers.get(name) if isinstance(name, str) else None
        if handler is None:
            hint = nearest(str(name), list(self._handlers))
            return protocol.error(number, protocol.UNKNOWN_REQUEST, f"there is no request {name!r}; {hint}")
        if socket_name == protocol.SUMMARY and name not in protocol.OPEN_REQUESTS:
            return protocol.error(number, protocol.NOT_ALLOWED, f"{name} is not for everybody: ask on another socket")
        if socket_name == protocol.STATUS and not handler.reads_only:
            return protocol.error(number, protocol.NOT_ALLOWED, f"{name} changes something; ask on the control socket")
        try:
            asked = handler.model.model_validate(message.get("request", {}))
        except pydantic.ValidationError as error:
            return protocol.error(number, protocol.BAD_REQUEST, "; ".join(explain(error, handler.model, str(name))))
        try:
            answer = await handler.handler(asked)
            return protocol.result(number, _as_json(answer))
        except VpnrsError as error:
            return protocol.error(number, protocol.REFUSED, str(error))
        except (Exception, SystemExit) as error:
            log.exception("request %s failed", name)
            return protocol.error(number, protocol.INTERNAL, f"{name} failed: {type(error).__name__}: {error}")


def _as_json(answer: pydantic.BaseModel) -> bytes:
    try:
        return answer.model_dump_json().encode()
    except PydanticSerializationError:  # half a surrogate, in a plugin's name of somebody: JSON can say it
        return json.dumps(answer.model_dump(mode="json")).encode()


def _close(connection: socket.socket, _: asyncio.Task[None]) -> None:
    connection.close()


def _peer_user(writer: asyncio.StreamWriter) -> int:
    connection = writer.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    user: int = _UCRED.unpack(credentials)[1]
    return user


def _share(path: Path) -> None:
    """Give the socket to the group `vpnrs` where there is one."""
    try:
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
    except (KeyError, PermissionError):
        pass
