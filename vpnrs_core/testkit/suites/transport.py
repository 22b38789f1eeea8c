"""The contract of transports, over a real listener on this machine: ordered streams, whole datagrams, one end."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, ClassVar

import pytest

from vpnrs_core.errors import VpnrsError
from vpnrs_core.interfaces import Connection, PathFacts, Transport
from vpnrs_core.testkit.suites.base import Suite, is_named

ALPN = "kit/1"
PATIENCE = 10.0


class Heard:
    """Receives a connection's events."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.streams: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.got: list[bytes] = []
        self.ends: list[tuple[int, str]] = []
        self._changed = asyncio.Event()
        connection.listen(self)

    def stream_data(self, stream: int, data: bytes, end: bool) -> None:
        self.streams[stream] = self.streams.get(stream, b"") + data
        if end:
            self.ended.add(stream)
        self._changed.set()

    def stream_reset(self, stream: int, code: int) -> None:
        self.resets[stream] = code
        self._changed.set()

    def datagrams(self, batch: Sequence[bytes]) -> None:
        self.got += batch
        self._changed.set()

    def writable(self) -> None:
        self._changed.set()

    def path_changed(self, path: PathFacts) -> None:
        self._changed.set()

    def closed(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))
        self._changed.set()

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():
                self._changed.clear()
                await self._changed.wait()


class TransportSuite(Suite):
    """`sides` are a server's transport, a client's that trusts it, and where to listen. By default both are made by the
    plugin, with `table` at the server and `client_table` at the client."""

    kind: ClassVar[str] = "transport"
    where: ClassVar[str] = "127.0.0.1:0"
    client_table: ClassVar[Any] = None

    @pytest.fixture
    def sides(self, request: pytest.FixtureRequest) -> tuple[Transport, Transport]:
        from vpnrs_core.testkit.load import load

        if self.client_table is None:
            pytest.skip("no client could trust this server: give `client_table`, or --client-set")
        loaded = request.getfixturevalue("loaded")
        folder = request.getfixturevalue("tmp_path")
        client = load(self.plugin, self.client_table, role="client", folder=folder)
        return loaded.one(self.kind, self.name), client.one(self.kind, self.name)

    @contextlib.asynccontextmanager
    async def joined(
        self, sides: tuple[Transport, Transport], alpns: Sequence[str] = (ALPN,)
    ) -> AsyncIterator[tuple[Heard, Heard, Any]]:
        """(client, server, listener), all closed afterwards."""
        server, client = sides
        accepted: asyncio.Queue[Heard] = asyncio.Queue()
        listener = await server.listen(self.where, [ALPN], lambda c: accepted.put_nowait(Heard(c)))
        try:
            async with asyncio.timeout(PATIENCE):
                near = Heard(await client.dial(listener.where, alpns))
                far = await accepted.get()
            yield near, far, listener
        finally:
            await client.close()
            await listener.close()
            await server.close()

    def run(self, check: Callable[[Heard, Heard, Any], Awaitable[object]], sides: Any) -> None:
        async def go() -> None:
            # The loop's own threads are there before descriptors are counted.
            await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 1)
            async with self.joined(sides) as (near, far, listener):
                await check(near, far, listener)

        asyncio.run(go())

    def test_it_has_a_name_and_says_what_it_lacks(self, sides: Any) -> None:
        for side in sides:
            assert is_named(side)
            known = {"datagrams", "migration", "sockets", "client_certificates", "streams"}
            assert set(side.LACKS) <= known

    def test_both_ends_agree_on_protocol_and_server(self, sides: Any) -> None:
        async def check(near: Heard, far: Heard, listener: Any) -> None:
            assert near.connection.alpn == far.connection.alpn == ALPN
            assert near.connection.is_client
            assert not far.connection.is_client
            assert near.connection.server_spki == far.connection.server_spki
            assert near.connection.server_spki, "authentication binds itself to the server's key"
            assert near.connection.peer.spki == near.connection.server_spki
            assert near.connection.path.remote
            assert isinstance(dict(near.connection.facts()), dict)
            far.connection.authenticated()

        self.run(check, sides)

    def test_streams_are_ordered_and_ids_do_not_meet(self, sides: Any) -> None:
        async def check(near: Heard, far: Heard, listener: Any) -> None:
            mine, theirs = near.connection.streams.open(), far.connection.streams.open()
            assert (mine, theirs) == (0, 1), "QUIC's ids: the client's first is 0, the server's 1"
            sent = b"".join(n.to_bytes(4, "big") for n in range(20_000))
            for at in range(0, len(sent), 7000):
                near.connection.streams.write(mine, sent[at : at + 7000])
            far.connection.streams.write(theirs, b"from the server", end=True)
            await far.until(lambda: far.streams.get(mine) == sent)
            await near.until(lambda: near.streams.get(theirs) == b"from the server" and theirs in near.ended)
            far.connection.streams.write(mine, b"answer")
            await near.until(lambda: near.streams.get(mine) == b"answer")
            await near.until(lambda: near.connection.streams.unsent(mine) == 0)

        self.run(check, sides)

    def test_a_reset_is_told(self, sides: Any) -> None:
        async def check(near: Heard, far: Heard, listener: Any) -> None:
            stream = near.connection.streams.open()
            near.connection.streams.write(stream, b"x")
            await far.until(lambda: stream in far.streams)
            near.connection.streams.reset(stream, 77)
            await far.until(lambda: far.resets.get(stream) == 77)

        self.run(check, sides)

    def test_datagrams_arrive_whole_or_there_are_none(self, sides: Any) -> None:
        async def check(near: Heard, far: Heard, listener: Any) -> None:
            largest = near.connection.max_datagram()
            if "datagrams" in sides[1].LACKS:
                assert largest == 0
                assert near.connection.room() == 0
                assert near.connection.send([b"none"]) == 0
                return
            assert largest >= 1200
            batch = [bytes([n]) * largest for n in range(10)]
            while batch:
                del batch[: near.connection.send(batch)]
                await asyncio.sleep(0.005)
            await far.until(lambda: len(far.got) == 10)
            assert {len(each) for each in far.got} == {largest}

        self.run(check, sides)

    @pytest.mark.parametrize("closer", ["client", "server"])
    def test_an_end_is_told_once_with_code_and_reason(self, sides: Any, closer: str) -> None:
        async def check(near: Heard, far: Heard, listener: Any) -> None:
            one, other = (near, far) if closer == "client" else (far, near)
            one.connection.close(0x1234, "enough")
            one.connection.close(0x1234, "twice")
            await other.until(lambda: other.ends)
            await one.until(lambda: one.ends)
            await asyncio.sleep(0.05)
            assert other.ends == [(0x1234, "enough")]
            assert len(one.ends) == 1
            assert one.connection.room() == 0
            assert one.connection.send([b"late"]) <= 1  # taken or not: it never raises, and nobody gets it

        self.run(check, sides)

    def test_a_server_that_closes_tells_its_clients(self, sides: Any) -> None:
        async def check(near: Heard, far: Heard, listener: Any) -> None:
            await sides[0].close()
            await near.until(lambda: near.ends)

        self.run(check, sides)

    def test_where_nobody_listens_is_an_error_of_vpnrs(self, sides: Any) -> None:
        async def check() -> None:
            async with self.joined(sides) as (_, _, listener):
                where = listener.where
            with pytest.raises(VpnrsError):
                async with asyncio.timeout(4 * PATIENCE):
                    await sides[1].dial(where, [ALPN])
            await sides[1].close()

        asyncio.run(check())

    def test_no_common_protocol_is_refused(self, sides: Any) -> None:
        async def check() -> None:
            server, client = sides
            listener = await server.listen(self.where, [ALPN], lambda c: None)
            try:
                with pytest.raises(VpnrsError):
                    async with asyncio.timeout(4 * PATIENCE):
                        await client.dial(listener.where, ["other/1"])
            finally:
                await client.close()
                await listener.close()
                await server.close()

        asyncio.run(check())

    def test_nothing_is_left_open(self, sides: Any) -> None:
        async def check() -> None:
            await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 1)
            before, tasks = len(os.listdir("/proc/self/fd")), asyncio.all_tasks()
            async with self.joined(sides) as (near, far, _):
                near.connection.streams.write(near.connection.streams.open(), b"x")
                await far.until(lambda: far.streams)
            await asyncio.sleep(0.1)
            assert len(os.listdir("/proc/self/fd")) <= before
            assert not [task for task in asyncio.all_tasks() - tasks if not task.done()]

        asyncio.run(check())

    def test_it_names_what_it_sends_to(self, sides: Any) -> None:
        async def check(near: Heard, far: Heard, listener: Any) -> None:
            assert list(sides[1].underlay()), "routes into the tunnel must never swallow the transport's own packets"

        self.run(check, sides)
