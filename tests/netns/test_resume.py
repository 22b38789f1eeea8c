"""Resume, end to end: the last WELCOME may be lost, a forged proof gets nothing, the superseded link is told.

client 0 ── server
stranger ────┘
"""

import asyncio
import os
from dataclasses import replace

from tests.netns.stranger import stranger
from vpnrs_core.builtin.vpnrs1 import VpnrsProtocol
from vpnrs_core.interfaces import Code
from vpnrs_core.testkit.gate import FakeClientLink
from vpnrs_core.testkit.tunnel import SERVER4


class Link(FakeClientLink):
    """Says when it is granted."""

    def __init__(self):
        super().__init__()
        self.up = asyncio.Event()

    def granted(self, granted, lane, control):
        super().granted(granted, lane, control)
        self.up.set()


async def request(one, **keys):
    """→ (connection, the task of the request, what it was granted)."""
    connection, _ = await one.dial()
    link = Link()
    task = asyncio.ensure_future(VpnrsProtocol().request(connection, one.wish(**keys), link))
    up = asyncio.ensure_future(link.up.wait())
    await asyncio.wait([task, up], return_when=asyncio.FIRST_COMPLETED, timeout=10)
    up.cancel()
    return connection, task, link.grants[0] if link.grants else None


def sessions(net):
    return net.server.status()["server"]["sessions"]


async def drop(connection, task):
    """As a crash does: the connection closes without a goodbye."""
    connection.close(0x5700, "gone")
    await asyncio.wait([task], timeout=5)


async def test_a_lost_welcome_locks_nobody_out(tunnel):
    net = tunnel(clients=2)
    net.start_server()
    async with stranger(net) as one:
        connection, task, first = await request(one)
        await drop(connection, task)
        for _ in range(3):  # each resume uses the ticket that came before the WELCOME that is lost
            connection, task, resumed = await request(one, resume=first.resume)
            assert resumed.resumed
            assert resumed.session == first.session
            assert resumed.addresses == first.addresses
            await drop(connection, task)
        connection, task, again = await request(one, resume=resumed.resume)
        assert again.resumed
        await drop(connection, task)
        # The new secret was used: the one before it is worth nothing any more.
        connection, task, late = await request(one, resume=first.resume)
        assert not late.resumed
        assert late.session != first.session
        await drop(connection, task)


async def test_a_strangers_proof_gets_nothing_of_the_session_it_names(tunnel):
    net = tunnel(clients=2).up(0)
    victim = net.client.status()["client"]["session"]
    async with stranger(net) as one:
        _, task, own = await request(one)
        task.cancel()
        await asyncio.wait([task])
        forged = replace(own.resume, session=victim["id"], secret=os.urandom(32))
        for generation in (0, 1, 2**30):
            connection, task, granted = await request(one, resume=replace(forged, generation=generation))
            assert not granted.resumed
            assert granted.principal == "client1"
            assert granted.session != victim["id"]
            assert not {str(a) for a, _ in granted.addresses} & set(victim["addresses"])
            await drop(connection, task)
        one.token = one.token[:-1]
        _, task, granted = await request(one, resume=forged)
        assert granted is None
        assert (await task).code is Code.AUTH_FAILED
    assert net.client.status()["client"]["session"]["id"] == victim["id"]
    assert net.client.log.count(" connected ") == 1
    net.client_ns[0].run("ping", "-c2", "-W3", SERVER4)


async def test_the_superseded_link_is_told_and_the_new_one_has_the_session(tunnel):
    net = tunnel(clients=2)
    net.start_server()
    async with stranger(net) as one:
        _, old, first = await request(one)
        connection, new, resumed = await request(one, resume=first.resume)
        assert resumed.session == first.session
        async with asyncio.timeout(3):
            assert (await old).code is Code.SUPERSEDED
        (only,) = sessions(net)
        assert only["state"] == "active"
        assert len(only["links"]) == 1
        assert not new.done()
        await drop(connection, new)
