"""The QUIC transport over real sockets on 127.0.0.1 and ::1: what any pair of engines promises, and dialling."""

import asyncio
import socket

import pytest

from vpnrs_core.errors import HostError, PeerError
from vpnrs_core.quic import transport as transport_module
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.codes import CLOSE_INTERNAL
from vpnrs_core.testkit.quic_suite import QuicSuite
from vpnrs_core.testkit.quic_world import World


class TestAioquic(QuicSuite):
    @pytest.fixture
    def engines(self):
        return AioquicEngine(), AioquicEngine()


class TestAioquicSlow(QuicSuite):
    """By aioquic's own packet builder and parser."""

    @pytest.fixture
    def engines(self):
        return AioquicEngine(fast=False), AioquicEngine(fast=False)


@pytest.fixture
async def world(tmp_path):
    # The loop's threads for name resolution, made once, own descriptors of their own.
    await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 1)
    made = World(tmp_path, (AioquicEngine(), AioquicEngine()))
    yield made
    await made.leave()


async def test_a_name_is_dialled(world):
    listener = await world.listen("[::]:0")
    await world.dial(f"localhost:{listener.where.rpartition(':')[2]}")
    await asyncio.wait_for(world.arrived.wait(), 5)


async def test_nobody_there_is_a_clear_end(world, monkeypatch):
    monkeypatch.setattr(World, "dial_seconds", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(PeerError, match="no answer within"):
            await world.dial(f"127.0.0.1:{silent.getsockname()[1]}")


async def test_the_next_address_is_tried_when_one_is_silent(world, monkeypatch):
    monkeypatch.setattr(World, "dial_seconds", 0.5)
    listener = await world.listen()
    host, _, port = listener.where.rpartition(":")
    silent = (socket.AF_INET, ("127.0.0.9", int(port)))

    async def two_addresses(where):
        return [silent, (socket.AF_INET, (host, int(port)))]

    monkeypatch.setattr(transport_module, "resolve", two_addresses)
    client = await world.dial(listener.where)
    assert client.connection.path.remote == listener.where
    assert set(world.transports[-1].underlay()) == {"127.0.0.9", "127.0.0.1"}


async def test_a_receiver_that_raises_loses_its_own_connection_only(world, caplog):
    listener = await world.listen()
    broken = await world.dial(listener.where)
    await world.until(lambda: len(world.accepted) == 1)
    other = await world.dial(listener.where)
    await world.until(lambda: len(world.accepted) == 2)

    def fail(batch):
        raise RuntimeError("a bug")

    world.accepted[0].datagrams = fail
    for client in (broken, other):
        client.connection.send([b"x"])
    await broken.wait(lambda events: events.end)
    assert broken.end[0] == CLOSE_INTERNAL
    assert "a bug" in caplog.text
    await world.accepted[1].wait(lambda events: events.got == [b"x"])
    assert other.end is None


async def test_an_engine_that_fails_once_goes_on(world):
    client, server = await world.pair()
    engine = client.connection.engine
    transmit, failures = engine.transmit, [RuntimeError("packet builder capacity exhausted")]

    def fails_once(now):
        if failures:
            raise failures.pop()
        return transmit(now)

    engine.transmit = fails_once
    client.connection.send([b"one"])
    client.connection.send([b"two"])
    await asyncio.sleep(0)
    client.connection.send([b"three"])
    await server.wait(lambda events: len(events.got) == 3)


async def test_a_port_in_use_is_named(world):
    listener = await world.listen()
    with pytest.raises(HostError, match=f"cannot listen on {listener.where}: another program"):
        await world.listen(listener.where)
    with pytest.raises(HostError, match="no such address"):
        await world.listen("192.0.2.77:0")


async def test_a_dial_that_is_cancelled_leaves_nothing(world):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        task = asyncio.ensure_future(world.dial(f"127.0.0.1:{silent.getsockname()[1]}"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
