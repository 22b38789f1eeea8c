"""The contract of session protocols: one request, one grant or refusal, packets both ways, and an end told once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from vpnrs_core.errors import PeerError
from vpnrs_core.interfaces import ClientRequest, Code, Refuse
from vpnrs_core.testkit.clock import run as run_on_clock
from vpnrs_core.testkit.connection import FakeConnection, FakePath, connection_pair
from vpnrs_core.testkit.gate import GRANTED, FakeClientLink, FakeGate
from vpnrs_core.testkit.suites.base import Suite, is_named

METHOD = "kit"
# What comes from somebody who speaks something else.
STRANGE = (b"\0", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 70_000, b"{}\n", b"[1, 2]\n" * 10)


class Half:
    """interfaces.ClientHalf with a bearer token."""

    async def prepare(self) -> None: ...

    def start(self) -> Mapping[str, Any]:
        return {"bearer": "kit token"}

    def answer(self, challenge: Mapping[str, Any], channel: bytes) -> Mapping[str, Any]:
        return {"answer to": challenge.get("question")}

    def refused(self, code: Code) -> bool:
        return False


class World:
    """Both ends of one protocol on a linked pair of fake connections, on a clock that jumps."""

    def __init__(self, protocol: Any, gate: FakeGate, path: FakePath | None = None) -> None:
        self.protocol, self.gate = protocol, gate
        self.path = path or FakePath()
        self.client, self.server = connection_pair(self.path, alpn=protocol.ALPNS[0])
        self.link = FakeClientLink()
        self.serving = asyncio.create_task(protocol.serve(self.server, gate))
        self.asking: asyncio.Task[Any] | None = None

    def ask(self) -> None:
        self.asking = asyncio.create_task(self.protocol.request(self.client, ClientRequest(METHOD, Half()), self.link))

    async def granted(self) -> None:
        self.ask()
        async with asyncio.timeout(30):
            while not self.link.grants:
                assert self.asking is not None
                if self.asking.done():
                    raise AssertionError(f"no grant, but {self.asking.result()!r}")
                await asyncio.sleep(0.01)

    async def leave(self) -> None:
        for task in (self.asking, self.serving):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task


class ProtocolSuite(Suite):
    """`subject` is the protocol. One that needs a real transport overrides `play`."""

    kind: ClassVar[str] = "protocol"

    def play(self, subject: Any, check: Callable[[World], Awaitable[object]], gate: FakeGate | None = None) -> World:
        async def go() -> World:
            world = World(subject, gate or FakeGate())
            try:
                await check(world)
            finally:
                await world.leave()
            return world

        return run_on_clock(go())

    def test_it_has_a_name_and_its_alpns(self, subject: Any) -> None:
        assert is_named(subject)
        assert subject.ALPNS
        assert all(0 < len(alpn.encode()) < 256 for alpn in subject.ALPNS)
        assert isinstance(subject.WANTS, frozenset)

    def test_a_request_is_granted(self, subject: Any) -> None:
        async def check(world: World) -> None:
            await world.granted()
            (request,) = world.gate.requests
            assert request.method == METHOD
            (granted,) = world.link.grants
            assert granted.principal == GRANTED.principal
            assert list(granted.addresses) == list(GRANTED.addresses)
            assert set(granted.routes) == set(GRANTED.routes)
            assert granted.mtu == GRANTED.mtu
            assert world.server.was_authenticated, "limits for unauthenticated connections must end"
            assert not world.client.was_authenticated or world.client.is_client

        self.play(subject, check)

    def test_payloads_cross_both_ways_in_order(self, subject: Any) -> None:
        async def check(world: World) -> None:
            await world.granted()
            up, down = [bytes((0, n)) for n in range(50)], [bytes((0, 200 - n)) * 100 for n in range(50)]
            lane, server_lane = world.link.lane, world.gate.requests[0].lane
            assert lane is not None
            assert lane.max_payload() >= 1200
            assert lane.send(up) == len(up)
            assert server_lane.send(down) == len(down)
            await asyncio.sleep(10)  # on the fake path's clock
            assert world.gate.links[0].payloads == up
            assert world.link.payloads == down

        self.play(subject, check)

    def test_a_refusal_reaches_the_client(self, subject: Any) -> None:
        async def check(world: World) -> None:
            world.ask()
            assert world.asking is not None
            async with asyncio.timeout(30):
                refused = await world.asking
            assert isinstance(refused, Refuse)
            assert (refused.code, refused.retry_after) == (Code.SERVER_FULL, 7)
            assert "secret" not in refused.detail, "the detail is for the server's log only"
            assert not world.link.grants

        self.play(subject, check, FakeGate(Refuse(Code.SERVER_FULL, 7, "a secret of the server")))

    def test_a_link_is_closed_once_when_the_client_leaves(self, subject: Any) -> None:
        async def check(world: World) -> None:
            await world.granted()
            assert world.asking is not None
            world.asking.cancel()
            await asyncio.gather(world.asking, return_exceptions=True)
            await asyncio.wait([world.serving], timeout=30)
            (graceful,) = closings(world)
            assert graceful, "a client that is stopped says goodbye, so that its addresses are free at once"

        self.play(subject, check)

    def test_a_link_is_closed_once_when_the_connection_is_lost(self, subject: Any) -> None:
        async def check(world: World) -> None:
            await world.granted()
            world.client.hear_close(0, "lost")
            world.server.hear_close(0, "lost")
            assert world.asking is not None
            async with asyncio.timeout(30):
                assert await world.asking is None, "None says that the connection was lost"
                await asyncio.wait([world.serving])
            (graceful,) = closings(world)
            assert not graceful, "nobody said goodbye: the session is kept for a resume"

        self.play(subject, check)

    def test_a_server_that_stops_serving_closes_its_link(self, subject: Any) -> None:
        async def check(world: World) -> None:
            await world.granted()
            world.serving.cancel()
            await asyncio.gather(world.serving, return_exceptions=True)
            assert len(closings(world)) == 1

        self.play(subject, check)

    def test_what_a_stranger_says_ends_its_connection_only(self, subject: Any) -> None:
        for said in STRANGE:
            self.play(subject, partial(self.is_not_served, said))

    async def is_not_served(self, said: bytes, world: World) -> None:
        stream = world.client.streams.open()
        with contextlib.suppress(ConnectionError):
            world.client.streams.write(stream, said, end=True)
        await asyncio.wait([world.serving], timeout=120)
        assert world.serving.done() or world.server.closed_with is not None, f"who said {said[:20]!r} is still served"
        assert not world.gate.links

    def test_the_server_may_end_a_session(self, subject: Any) -> None:
        async def check(world: World) -> None:
            await world.granted()
            notify = world.gate.requests[0].notify
            if notify is None:
                return  # the protocol cannot tell; the connection is closed instead
            notify.ended(Refuse(Code.SHUTTING_DOWN))
            assert world.asking is not None
            async with asyncio.timeout(30):
                told = await world.asking
            assert told is None or (isinstance(told, Refuse) and told.code is Code.SHUTTING_DOWN)

        self.play(subject, check)

    def test_a_silent_server_is_given_up(self, subject: Any) -> None:
        """The client's engine tries again only when `request` comes to an end."""

        async def check(world: World) -> None:
            world.path.cut = True
            world.ask()
            assert world.asking is not None
            with contextlib.suppress(PeerError, TimeoutError):
                async with asyncio.timeout(120):
                    await world.asking
            assert world.asking.done()
            assert not world.link.grants

        self.play(subject, check, replace(FakeGate()))


def closings(world: World) -> list[bool]:
    """Whether each was graceful; there must be exactly one."""
    found = [graceful for _, graceful in world.gate.links[0].closings]
    assert len(found) == 1, f"`closed` of the link that the gate opened was called {len(found)} times, not once"
    return found


__all__ = ["FakeConnection", "ProtocolSuite", "World"]
