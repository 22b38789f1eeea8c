"""The QUIC transport over real sockets on 127.0.0.1 and ::1: identity, datagrams, streams, closing."""

import asyncio
import gc
import os
import random
import socket

import pytest

from vpnrs_core.errors import AuthRejected, HostError, PeerError
from vpnrs_core.quic import transport as transport_module
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.codes import CLOSE_INTERNAL
from vpnrs_core.quic.identity import make_certificate, pin_of
from vpnrs_core.quic.settings import QuicConfig, ServerIdentity
from vpnrs_core.quic.transport import QuicTransport

PAIR = make_certificate("127.0.0.1")
OTHER = make_certificate("127.0.0.1")
PIN = pin_of(PAIR.certificate)


class Events:
    """Receives a connection's events; `wait` returns once a condition over them holds."""

    def __init__(self, connection):
        self.connection = connection
        self.got, self.paths, self.streams, self.end = [], [], {}, None
        self.on_writable = lambda: None
        self._changed = asyncio.Event()
        connection.listen(self)

    def stream_data(self, stream, data, end):
        self.streams[stream] = self.streams.get(stream, b"") + data
        self._changed.set()

    def stream_reset(self, stream, code):
        self.streams[stream] = code
        self._changed.set()

    def datagrams(self, batch):
        self.got += batch
        self._changed.set()

    def writable(self):
        self.on_writable()

    def path_changed(self, path):
        self.paths.append(path)
        self._changed.set()

    def closed(self, code, reason):
        assert self.end is None
        self.end = (code, reason)
        self._changed.set()

    async def wait(self, condition, seconds=10):
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()


class World:
    """A server and its clients; `leave` closes all and checks that nothing stays behind."""

    def __init__(self, directory):
        self.directory = directory
        self.transports = []
        self.accepted = []
        self.arrived = asyncio.Event()
        self.descriptors = len(os.listdir("/proc/self/fd"))

    def config(self, **keys):
        for name, content in (("certificate", PAIR.certificate), ("key", PAIR.key)):
            path = self.directory / f"{name}.pem"
            if not path.exists():
                path.write_bytes(content)
            keys.setdefault(name, path)
        return QuicConfig(**{"max_unauthenticated_per_source": 200} | keys)

    def transport(self, config, identity=None, fast=True):
        made = QuicTransport(config, {"aioquic": AioquicEngine(fast=fast)}, identity)
        self.transports.append(made)
        return made

    async def listen(self, where="127.0.0.1:0", on_connection=None, fast=True, **keys):
        def arrived(connection):
            connection.authenticated()
            self.accepted.append(Events(connection))
            self.arrived.set()

        return await self.transport(self.config(**keys), fast=fast).listen(where, ["a", "b"], on_connection or arrived)

    async def dial(self, where, *, alpns=("a",), fast=True, identity=None, via=None, **keys):
        transport = self.transport(QuicConfig(**keys), identity or ServerIdentity(server_pin=PIN), fast)
        return Events(await transport.dial(where, list(alpns), via=via))

    async def pair(self, where="127.0.0.1:0", **keys):
        listener = await self.listen(where, **keys)
        client = await self.dial(listener.where, **keys)
        async with asyncio.timeout(5):
            await self.arrived.wait()
        return client, self.accepted[0]

    async def until(self, condition, seconds=10):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the condition has no event of its own
                await asyncio.sleep(0.005)

    async def leave(self):
        await asyncio.gather(*(transport.close() for transport in self.transports))
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not any(transport._drivers for transport in self.transports)
        gc.collect()  # an unclosed socket is a ResourceWarning, and that an error
        assert len(os.listdir("/proc/self/fd")) == self.descriptors


@pytest.fixture
async def world(tmp_path):
    # The loop's threads for name resolution, made once, own descriptors of their own.
    await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 1)
    made = World(tmp_path)
    yield made
    await made.leave()


async def transfer(sender, receiver, count, size):
    """Send numbered datagrams as fast as they are taken, in order; returns them."""
    source = random.Random(count)
    wanted = [number.to_bytes(4, "big") + source.randbytes(size - 4) for number in range(count)]
    position = 0

    def push():
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


@pytest.mark.parametrize("where", ["127.0.0.1:0", "[::1]:0"])
async def test_datagrams_go_both_ways_in_order_and_unchanged(world, where):
    client, server = await world.pair(where)
    assert client.connection.alpn == server.connection.alpn == "a"
    assert client.connection.server_spki == server.connection.server_spki == PAIR.spki
    up, down = await asyncio.gather(transfer(client, server, 3000, 1300), transfer(server, client, 2000, 900))
    assert server.got == up
    assert client.got == down


@pytest.mark.parametrize(("gso", "gro", "fast"), [(False, False, True), (True, False, False), (False, True, True)])
async def test_without_offload_the_same_bytes_arrive(world, gso, gro, fast):
    client, server = await world.pair(udp_gso=gso, udp_gro=gro, fast=fast)
    assert server.got == await transfer(client, server, 1500, 1200) == server.got
    facts = client.connection.facts()
    assert (facts["gso"], facts["gro"], facts["fast_path"]) == (int(gso), int(gro), int(fast))
    assert facts["udp_bytes_out"] > 1500 * 1200


@pytest.mark.parametrize("dialled", ["127.0.0.1", "::1", "localhost"])
async def test_one_listener_serves_both_families(world, dialled):
    listener = await world.listen("[::]:0")
    port = listener.where.rpartition(":")[2]
    client = await world.dial(f"[{dialled}]:{port}" if ":" in dialled else f"{dialled}:{port}")
    await asyncio.wait_for(world.arrived.wait(), 5)
    if dialled != "localhost":
        path = world.accepted[0].connection.path
        assert path.local == client.connection.path.remote
        assert path.remote == client.connection.path.local


async def test_streams_carry_and_tell_when_they_are_reset(world):
    client, server = await world.pair()
    stream = client.connection.streams.open()
    client.connection.streams.write(stream, b"x" * 100_000)
    assert client.connection.streams.unsent(stream) > 0
    assert client.connection.room() == 0
    await server.wait(lambda events: len(events.streams.get(stream, b"")) == 100_000)
    server.connection.streams.write(stream, b"answer", end=True)
    await client.wait(lambda events: events.streams.get(stream) == b"answer")
    other = client.connection.streams.open()
    client.connection.streams.write(other, b"y")
    client.connection.streams.reset(other, 77)
    await server.wait(lambda events: events.streams.get(other) == 77)


async def test_the_control_stream_does_not_wait_behind_datagrams(world):
    client, server = await world.pair()
    stream = client.connection.streams.open()

    def flood():
        while client.connection.send([bytes(1200)] * 45) == 45:
            pass

    client.on_writable = flood
    flood()
    await server.wait(lambda events: len(events.got) > 500)
    before = len(server.got)
    client.connection.streams.write(stream, b"PING")
    await server.wait(lambda events: stream in events.streams, 3)
    # What was in flight comes before it; nothing that was sent later does.
    assert len(server.got) - before < 5000
    client.on_writable = lambda: None


async def test_an_oversized_datagram_is_taken_dropped_and_counted(world):
    client, server = await world.pair()
    largest = client.connection.max_datagram()
    assert client.connection.send([b"before", bytes(largest + 1), b"after"]) == 3
    await server.wait(lambda events: len(events.got) == 2)
    assert server.got == [b"before", b"after"]
    assert client.connection.facts()["oversized"] == 1


async def test_a_wrong_pin_is_refused_before_any_stream_and_says_both(world):
    listener = await world.listen()
    wrong = pin_of(OTHER.certificate)
    with pytest.raises(AuthRejected, match=f"expected {wrong}, presented {PIN}"):
        await world.dial(listener.where, identity=ServerIdentity(server_pin=wrong))


async def test_a_ca_and_a_name_are_checked(world):
    listener = await world.listen()
    ca = world.directory / "ca.pem"
    ca.write_bytes(PAIR.certificate)
    await world.dial(listener.where, identity=ServerIdentity(ca=str(ca)))
    with pytest.raises(PeerError, match="doesn't match"):
        await world.dial(listener.where, identity=ServerIdentity(ca=str(ca), server_name="vpn.example"))
    ca.write_bytes(OTHER.certificate)
    with pytest.raises(PeerError, match=r"0x1"):
        await world.dial(listener.where, identity=ServerIdentity(ca=str(ca)))
    with pytest.raises(PeerError, match=r"0x1"):
        await world.dial(listener.where, identity=ServerIdentity(ca="system"))


async def test_a_pin_is_checked_on_top_of_a_ca(world):
    listener = await world.listen()
    ca = str(world.config().certificate)
    with pytest.raises(AuthRejected):
        await world.dial(listener.where, identity=ServerIdentity(server_pin=pin_of(OTHER.certificate), ca=ca))


async def test_no_common_alpn_is_a_clear_end(world):
    listener = await world.listen()
    with pytest.raises(PeerError, match="ALPN"):
        await world.dial(listener.where, alpns=["nobody"])
    assert world.accepted == []


async def test_nobody_there_is_a_clear_end(world, monkeypatch):
    monkeypatch.setattr(transport_module, "DIAL_SECONDS", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(PeerError, match="no answer within"):
            await world.dial(f"127.0.0.1:{silent.getsockname()[1]}")


async def test_the_next_address_is_tried_when_one_is_silent(world, monkeypatch):
    monkeypatch.setattr(transport_module, "DIAL_SECONDS", 0.5)
    listener = await world.listen()
    host, _, port = listener.where.rpartition(":")
    silent = (socket.AF_INET, ("127.0.0.9", int(port)))

    async def two_addresses(where):
        return [silent, (socket.AF_INET, (host, int(port)))]

    monkeypatch.setattr(transport_module, "resolve", two_addresses)
    client = await world.dial(listener.where)
    assert client.connection.path.remote == listener.where
    assert set(world.transports[-1].underlay()) == {"127.0.0.9", "127.0.0.1"}


async def test_close_codes_and_reasons_arrive_both_ways(world):
    client, server = await world.pair()
    client.connection.close(0x4007, "enough")
    assert client.connection.send([b"late"]) == 1
    assert client.connection.room() == 0
    await server.wait(lambda events: events.end)
    await client.wait(lambda events: events.end)
    assert server.end == client.end == (0x4007, "enough")
    with pytest.raises(PeerError):
        client.connection.streams.open()


async def test_a_server_that_goes_tells_its_clients(world):
    client, _ = await world.pair()
    await world.transports[0].close()
    await client.wait(lambda events: events.end)
    assert "going away" in client.end[1]


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


async def test_fifty_connections_at_once(world):
    listener = await world.listen()
    clients = await asyncio.gather(*(world.dial(listener.where) for _ in range(50)))
    for number, client in enumerate(clients):
        client.connection.send([bytes([number])])
    await world.until(lambda: len(world.accepted) == 50)
    for events in world.accepted:
        await events.wait(lambda events: events.got)
    assert sorted(events.got[0][0] for events in world.accepted) == list(range(50))
    assert listener.driver.admission.total == 0


async def test_a_moved_client_keeps_its_connection(world):
    client, server = await world.pair()
    before = server.connection.path.remote
    driver = client.connection._driver
    # A NAT that forgets its binding: the same connection from another port.
    moved = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    moved.bind(("127.0.0.1", 0))
    os.dup2(moved.fileno(), driver._socket.fileno())
    moved.close()
    loop = asyncio.get_running_loop()
    loop.remove_reader(driver._socket.fileno())
    driver._socket._sock.setblocking(False)
    loop.add_reader(driver._socket.fileno(), driver._readable)
    client.connection.send([b"from elsewhere"])
    await server.wait(lambda events: events.got and events.paths)
    assert server.paths[0].remote != before
    # Until the new path is validated the server may send three times what it received, no more.
    assert await transfer(server, client, 100, 1000) == client.got


async def test_an_idle_connection_is_kept_alive(world):
    client, server = await world.pair(idle_timeout=1.0, keepalive=0.3)
    await asyncio.sleep(1.6)
    assert client.end is None
    assert server.end is None
    client.connection.send([b"still here"])
    await server.wait(lambda events: events.got)


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
