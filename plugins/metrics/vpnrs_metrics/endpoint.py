"""The endpoint: a service that answers scrapes in the instance's own loop."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar

from vpnrs_core.errors import HostError
from vpnrs_core.interfaces import Context
from vpnrs_metrics.exposition import Exposition
from vpnrs_metrics.http import END, MAX_HEAD, BadRequest, parse, response, verdict

PATIENCE = 10.0
MOST_CLIENTS = 16


class Endpoint:
    """interfaces.Service. One request a connection; who is slow, or one too many, loses its own answer only."""

    NAME: ClassVar[str] = "endpoint"

    def __init__(
        self,
        ctx: Context,
        exposition: Exposition,
        where: tuple[str, int] | None,
        path: Path | None,
        token: str | None,
        patience: float = PATIENCE,
    ) -> None:
        """Listens on `where` if it is given, and on the Unix socket `path` if that is; `listening` says when."""
        self._ctx = ctx
        self._exposition = exposition
        self._where = where
        self._path = path
        self._token = token
        self._patience = patience
        self._clients = 0
        self.port: int | None = None
        self.listening = asyncio.Event()

    async def run(self) -> None:
        servers: list[asyncio.Server] = []
        try:
            if self._where is not None:
                servers.append(await self._listen_tcp(*self._where))
            if self._path is not None:
                servers.append(await self._listen_unix(self._path))
            self.listening.set()
            await asyncio.gather(*(server.serve_forever() for server in servers))
        finally:
            for server in servers:
                server.close()
            if self._path is not None and len(servers) > (self._where is not None):
                self._path.unlink(missing_ok=True)

    async def _listen_tcp(self, host: str, port: int) -> asyncio.Server:
        try:
            server = await asyncio.start_server(self._serve, host, port, limit=MAX_HEAD)
        except OSError as error:
            raise HostError(f"[plugins.metrics] listen: {host} port {port}: {error.strerror or error}") from error
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _listen_unix(self, path: Path) -> asyncio.Server:
        return await asyncio.start_unix_server(self._serve, sock=_bound(path), limit=MAX_HEAD)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            async with asyncio.timeout(self._patience):
                if self._clients > MOST_CLIENTS:
                    writer.write(self._refusal(HTTPStatus.SERVICE_UNAVAILABLE))
                else:
                    writer.write(await self._answer(reader))
                await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            self._clients -= 1
            # What a slow client has not taken by now is not kept for it.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            request = parse(await reader.readuntil(END))
        except (BadRequest, asyncio.LimitOverrunError):
            return self._refusal(HTTPStatus.BAD_REQUEST)
        status = verdict(request, self._token)
        if status is not HTTPStatus.OK:
            return self._refusal(status)
        try:
            body, content_type = await self._exposition.text(request.headers.get("accept", ""))
        except Exception:
            self._ctx.log.exception("a scrape failed")
            return self._refusal(HTTPStatus.INTERNAL_SERVER_ERROR)
        head = response(status, body, content_type)
        return head if request.method == "HEAD" else head + body

    @staticmethod
    def _refusal(status: HTTPStatus) -> bytes:
        body = f"{status.phrase}\n".encode()
        return response(status, body) + body


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(str(path))
        except BlockingIOError:
            return True  # its queue is full
        except OSError:
            return False
        return True


def _bound(path: Path) -> socket.socket:
    """A Unix socket with mode 0660. One that a crash left may go; anything else at that place is somebody's."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise HostError(f"[plugins.metrics] socket: {path} exists and is no socket")
        if _answers(path):
            raise HostError(f"[plugins.metrics] socket: {path} is another program's, which listens there")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise HostError(f"[plugins.metrics] socket: {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    return listening
