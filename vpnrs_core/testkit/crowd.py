"""Many clients in one process: each with its own connection over real QUIC, its own session and TUN pair in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.builtin.single import SingleLinkScheduler
from vpnrs_core.builtin.vpnrs1 import VpnrsProtocol
from vpnrs_core.counters import DropCounts
from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.containment import FailureReporter
from vpnrs_core.engine.datapath import Datapath
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.errors import PeerError
from vpnrs_core.interfaces import (
    ClientRequest,
    Code,
    Connection,
    Granted,
    Lane,
    Lease,
    LinkControl,
    Offer,
    PathFacts,
    Principal,
    Seconds,
    Transport,
)
from vpnrs_core.pipeline.pipeline import Peer, Pipeline
from vpnrs_core.session.leases import LeaseHolder
from vpnrs_core.session.session import SessionRecord
from vpnrs_core.testkit.tun import FakeTun

# Handshakes at a time: a server takes so many from one source that have not authenticated yet.
_AT_ONCE = 12
_PATIENCE = 15.0


@dataclass(frozen=True, repr=False)
class TokenHalf:
    """interfaces.ClientHalf of method `token`."""

    token: str

    async def prepare(self) -> None: ...

    def start(self) -> Mapping[str, Any]:
        return {"bearer": self.token}

    def answer(self, challenge: Mapping[str, Any], channel: bytes) -> Mapping[str, Any]:
        raise PeerError("the server asked a question that a token has no answer to")

    def refused(self, code: Code) -> bool:
        return False


class CrowdClient:
    """interfaces.ClientLink. `host` is the end of the TUN pair that the client's host would have; `granted_now` the
    grant once `up` is set."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.tun, self.host = FakeTun.pair()
        self.drops = DropCounts()
        self.failures = FailureReporter(EventBus())
        self.up = asyncio.Event()
        self.granted_now: Granted | None = None
        self._pipeline = Pipeline("client", [], self.drops, self._failed)
        self._datapath = Datapath(
            self.tun, self._pipeline, self.drops, SingleLinkScheduler(), self.failures, lambda error: None
        )
        self._datapath.start()
        self._peer: Peer | None = None
        self._port: LinkPort | None = None

    def granted(self, granted: Granted, lane: Lane, control: LinkControl) -> None:
        self.granted_now = granted
        record = SessionRecord(
            granted.session,
            Principal(granted.principal),
            LeaseHolder(granted.session, [Lease(address) for address, _ in granted.addresses]),
            granted,
            on_end=lambda *_: None,
            on_change=lambda *_: None,
        )
        codec = PlainCodec().open(self.tun.offloads, granted.peer_offloads)
        self._port = LinkPort(self.connection, lane, [(0, PlainCodec.NAME, codec)])
        self._peer = self._pipeline.open(record, mtu=granted.mtu)
        self._datapath.attach(self._peer, self._port)
        self.up.set()

    def grant_changed(self, granted: Granted) -> None:
        self.granted_now = granted

    def received(self, payloads: Sequence[bytes]) -> None:
        if self._peer is not None and self._port is not None:
            self._datapath.received(self._peer, self._port, payloads)

    def writable(self) -> None:
        if self._peer is not None and self._port is not None:
            self._datapath.writable(self._peer, self._port)

    def ext(self, codec: str, body: bytes) -> None:
        """The plain codec has no messages."""

    def path_changed(self, path: PathFacts) -> None:
        """Nobody asks."""

    def measured(self, rtt: Seconds) -> None:
        """Nobody asks."""

    async def exchange(self, packet: bytes, answered: Callable[[bytes], bool]) -> bytes:
        """Send an IP packet into the tunnel and wait for one that `answered` takes."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[bytes] = loop.create_future()

        def look() -> None:
            for got in self.host.receive():
                if answered(got) and not found.done():
                    found.set_result(got)

        loop.add_reader(self.host.fileno(), look)
        try:
            self.host.send(packet)
            async with asyncio.timeout(_PATIENCE):
                return await found
        finally:
            loop.remove_reader(self.host.fileno())

    def close(self) -> None:
        self._datapath.stop()
        if self._peer is not None:
            self._pipeline.close(self._peer, "stopped")
        self.tun.close()
        self.host.close()

    def _failed(self, plugin: str, where: str, error: BaseException) -> None:
        raise AssertionError(f"no stage is here to fail, but {plugin} did at {where}: {error!r}")


async def crowd(
    transport: Transport, where: str, tokens: Sequence[str], visit: Callable[[CrowdClient], Awaitable[object]]
) -> list[Granted]:
    """One client for each token; all are connected at the same time, then each makes its visit and leaves → what they
    were granted. Raises PeerError for a refusal, and what a visit raises."""
    everyone = asyncio.Barrier(len(tokens))
    door = asyncio.Semaphore(_AT_ONCE)

    async def one(token: str) -> Granted:
        async with _connected(transport, where, token, door) as client:
            async with asyncio.timeout(_PATIENCE):
                await everyone.wait()
            await visit(client)
            assert client.granted_now is not None
            return client.granted_now

    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[Granted]] = [group.create_task(one(token)) for token in tokens]
    return [task.result() for task in tasks]


@asynccontextmanager
async def _connected(
    transport: Transport, where: str, token: str, door: asyncio.Semaphore
) -> AsyncIterator[CrowdClient]:
    protocol = VpnrsProtocol()
    async with door:
        client = CrowdClient(await transport.dial(where, protocol.ALPNS))
        wish = ClientRequest("token", TokenHalf(token), offer=Offer(offloads=client.tun.offloads))
        carried = asyncio.create_task(protocol.request(client.connection, wish, client))
        up = asyncio.create_task(client.up.wait())
        await asyncio.wait([carried, up], timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
    try:
        if carried.done():
            raise PeerError(f"refused: {await carried}")
        yield client
    finally:
        carried.cancel()
        await asyncio.gather(carried, return_exceptions=True)
        client.close()
