"""A QUIC server and its clients over real sockets, with any engines, checked for what they leave behind."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vpnrs_core.interfaces.engine import QuicEngine
from vpnrs_core.interfaces.transport import Connection, PathFacts
from vpnrs_core.quic.identity import make_certificate, pin_of
from vpnrs_core.quic.settings import QuicConfig, ServerIdentity
from vpnrs_core.quic.transport import QuicListener, QuicTransport

PAIR = make_certificate("127.0.0.1")
PIN = pin_of(PAIR.certificate)


class Events:
    """Receives a connection's events; `wait` returns once a condition over them holds."""

    def __init__(self, connection: Connection) -> None:
        # The adapter below the interface is looked at by some tests.
        self.connection: Any = connection
        self.got: list[bytes] = []
        self.paths: list[PathFacts] = []
        self.streams: dict[int, Any] = {}  # bytes so far, or the code of a reset
        self.end: tuple[int, str] | None = None
        self.on_writable: Callable[[], None] = lambda: None
        self._changed = asyncio.Event()
        connection.listen(self)

    def stream_data(self, stream: int, data: bytes, end: bool) -> None:
        self.streams[stream] = self.streams.get(stream, b"") + data
        self._changed.set()

    def stream_reset(self, stream: int, code: int) -> None:
        self.streams[stream] = code
        self._changed.set()

    def datagrams(self, batch: Sequence[bytes]) -> None:
        self.got += batch
        self._changed.set()

    def writable(self) -> None:
        self.on_writable()

    def path_changed(self, path: PathFacts) -> None:
        self.paths.append(path)
        self._changed.set()

    def closed(self, code: int, reason: str) -> None:
        assert self.end is None
        self.end = (code, reason)
        self._changed.set()

    async def wait(self, condition: Callable[[Events], object], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()


class World:
    """`engines` are the client's and the server's. `leave` closes all and checks that nothing stays."""

    # Longer than the product's: a handshake must not fail because the machine is busy with other tests.
    dial_seconds = 20.0

    def __init__(self, directory: Path, engines: tuple[QuicEngine, QuicEngine]) -> None:
        self.directory = directory
        self.client_engine, self.server_engine = engines
        self.transports: list[QuicTransport] = []
        self.accepted: list[Events] = []
        self.arrived = asyncio.Event()
        self.descriptors = len(os.listdir("/proc/self/fd"))

    def config(self, **keys: Any) -> QuicConfig:
        for name, content in (("certificate", PAIR.certificate), ("key", PAIR.key)):
            path = self.directory / f"{name}.pem"
            if not path.exists():
                path.write_bytes(content)
            keys.setdefault(name, path)
        return QuicConfig(**{"max_unauthenticated_per_source": 200, "unauthenticated_cpu": 1.0} | keys)

    def transport(
        self, config: QuicConfig, engine: QuicEngine, identity: ServerIdentity | None = None
    ) -> QuicTransport:
        made = QuicTransport(config, {engine.NAME: engine}, identity)
        made.dial_seconds = self.dial_seconds
        self.transports.append(made)
        return made

    async def listen(
        self, where: str = "127.0.0.1:0", on_connection: Callable[[Connection], None] | None = None, **keys: Any
    ) -> QuicListener:
        def arrived(connection: Connection) -> None:
            connection.authenticated()
            self.accepted.append(Events(connection))
            self.arrived.set()

        transport = self.transport(self.config(**keys), self.server_engine)
        return await transport.listen(where, ["a", "b"], on_connection or arrived)

    async def dial(
        self,
        where: str,
        *,
        alpns: Sequence[str] = ("a",),
        identity: ServerIdentity | None = None,
        via: str | None = None,
        **keys: Any,
    ) -> Events:
        transport = self.transport(QuicConfig(**keys), self.client_engine, identity or ServerIdentity(server_pin=PIN))
        return Events(await transport.dial(where, list(alpns), via=via))

    async def pair(self, where: str = "127.0.0.1:0", **keys: Any) -> tuple[Events, Events]:
        """A client's end and the server's end of one connection."""
        listener = await self.listen(where, **keys)
        client = await self.dial(listener.where, **keys)
        async with asyncio.timeout(5):
            await self.arrived.wait()
        return client, self.accepted[0]

    async def until(self, condition: Callable[[], object], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the condition has no event of its own
                await asyncio.sleep(0.005)

    async def leave(self) -> None:
        await asyncio.gather(*(transport.close() for transport in self.transports))
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not any(transport._drivers for transport in self.transports)
        gc.collect()  # an unclosed socket is a ResourceWarning, and that an error
        assert len(os.listdir("/proc/self/fd")) == self.descriptors


async def transfer(sender: Events, receiver: Events, count: int, size: int) -> list[bytes]:
    """Send numbered datagrams as fast as they are taken, in order; returns them."""
    source = random.Random(count)
    wanted = [number.to_bytes(4, "big") + source.randbytes(size - 4) for number in range(count)]
    position = 0

    def push() -> None:
        nonlocal position
        while position < count:
            taken = sender.connection.send(wanted[position : position + 45])
            position += taken
            if taken < 45:
                break

    sender.on_writable = push
    push()
    await receiver.wait(lambda events: len(events.got) >= count, 20)
    return wanted
