"""The relay on loopback, with real sockets, and as a process between namespaces."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager

import pytest

from vpnrs_core.testkit.impairment import Impairment
from vpnrs_core.testkit.relay import Relay, endpoint
from vpnrs_core.testkit.relay_process import RelayProcess

GOOD = Impairment()
UDP_SEGMENT, UDP_GRO = 103, 104
SO_RCVBUFFORCE = 33  # beyond what rmem_max allows


class Peer(asyncio.DatagramProtocol):
    """A socket whose datagrams are collected with their sender and the time."""

    def __init__(self):
        self.arrived = asyncio.Queue()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.arrived.put_nowait((data, address, time.monotonic()))

    async def take(self):
        async with asyncio.timeout(5):
            return await self.arrived.get()

    @property
    def address(self):
        return self.transport.get_extra_info("sockname")


@asynccontextmanager
async def path(up=GOOD, down=GOOD):
    """client, relay, server"""
    loop = asyncio.get_running_loop()
    ends = []
    for _ in range(2):
        _, end = await loop.create_datagram_endpoint(Peer, local_addr=("127.0.0.1", 0))
        ends.append(end)
    client, server = ends
    relay = Relay(server.address, up, down)
    await relay.start()
    client.send = lambda data: client.transport.sendto(data, ("127.0.0.1", relay.port))
    try:
        yield client, relay, server
    finally:
        relay.close()
        for end in ends:
            end.transport.close()


async def test_datagrams_go_through_both_ways_unchanged():
    async with path() as (client, relay, server):
        for data in (b"one", b"2", b"x" * 1400):
            client.send(data)
            got, sender, _ = await server.take()
            assert got == data
            server.transport.sendto(data + b"!", sender)
            assert (await client.take())[0] == data + b"!"
        assert relay.counts()["up"]["sent"] == relay.counts()["down"]["sent"] == 3


async def test_two_clients_get_their_own_answers():
    async with path() as (client, relay, server), path() as (other, _, _):
        other.transport.sendto(b"b", ("127.0.0.1", relay.port))
        _, second, _ = await server.take()
        client.send(b"a")
        _, first, _ = await server.take()
        assert first != second
        server.transport.sendto(b"for b", second)
        assert (await other.take())[0] == b"for b"
        assert client.arrived.empty()


async def test_delay_holds_each_direction_back_by_its_own():
    async with path(up=Impairment(delay=0.05), down=Impairment(delay=0.15)) as (client, _, server):
        start = time.monotonic()
        client.send(b"ping")
        _, sender, there = await server.take()
        server.transport.sendto(b"pong", sender)
        back = (await client.take())[2]
        assert 0.05 <= there - start < 0.12
        assert 0.15 <= back - there < 0.22


async def test_rate_is_kept_and_the_queue_drops():
    """2 Mbit/s and a queue of 20 kB: of 100 datagrams of 1 kB sent at once some 20 arrive, in some 80 ms."""
    async with path(up=Impairment(rate=2e6, queue=20_000)) as (client, relay, server):
        start = time.monotonic()
        for _ in range(100):
            client.send(bytes(1000))
        arrived = [await server.take()]
        while relay.up.counts["received"] < 100 or len(arrived) < relay.up.counts["sent"]:
            arrived.append(await server.take())
        assert len(arrived) + relay.up.counts["lost_queue"] == 100
        assert 20 <= len(arrived) <= 30
        measured = len(arrived) * 8000 / (arrived[-1][2] - start)
        assert measured == pytest.approx(2e6, rel=0.2)


async def test_reordering_and_duplicates_reach_the_other_side():
    async with path(up=Impairment(reorder=0.3, reorder_by=0.01, duplicate=0.2)) as (client, relay, server):
        for number in range(200):
            client.send(number.to_bytes(2, "big"))
        order = [int.from_bytes((await server.take())[0], "big")]
        while relay.up.counts["received"] < 200 or len(order) < relay.up.counts["sent"]:
            order.append(int.from_bytes((await server.take())[0], "big"))
        assert set(order) == set(range(200))
        assert order != sorted(order)
        assert len(order) == 200 + relay.up.counts["duplicated"] > 200


async def test_a_rebind_changes_the_port_that_the_target_sees():
    async with path() as (client, relay, server):
        client.send(b"1")
        _, before, _ = await server.take()
        relay.rebind()
        client.send(b"2")
        _, after, _ = await server.take()
        assert before != after
        server.transport.sendto(b"to the old port", before)
        server.transport.sendto(b"to the new port", after)
        assert (await client.take())[0] == b"to the new port"


async def test_a_blackout_loses_and_its_end_restores():
    async with path() as (client, relay, server):
        relay.blackout(True)
        client.send(b"lost")
        async with asyncio.timeout(5):
            while relay.up.counts["lost_blackout"] == 0:  # noqa: ASYNC110  # a socket of the kernel's sets no Event
                await asyncio.sleep(0.001)
        relay.blackout(False)
        client.send(b"found")
        assert (await server.take())[0] == b"found"


@pytest.mark.parametrize("impairment", [GOOD, Impairment(rate=1e12)], ids=["bursts", "one by one"])
async def test_gso_bursts_arrive_datagram_by_datagram(impairment):
    """A sender that uses UDP_SEGMENT: what one sendmsg holds reaches the target as single datagrams, in order."""
    async with path(up=impairment) as (_, relay, server):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            data = b"".join(bytes([n]) * 1000 for n in range(20)) + b"tail"
            control = [(socket.SOL_UDP, UDP_SEGMENT, (1000).to_bytes(2, "little"))]
            sender.sendmsg([data], control, 0, ("127.0.0.1", relay.port))
            got = [(await server.take())[0] for _ in range(21)]
        assert got == [data[start : start + 1000] for start in range(0, len(data), 1000)]
        assert relay.counts()["up"]["sent"] == 21


@pytest.mark.parametrize(("text", "expected"), [("10.0.0.1:4433", ("10.0.0.1", 4433)), ("[fd00::1]:0", ("fd00::1", 0))])
def test_endpoints_are_read(text, expected):
    assert endpoint(text) == expected


@pytest.mark.parametrize("text", ["10.0.0.1", ":4433", "a:65536", "a:x"])
def test_bad_endpoints_are_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # argparse shows whichever text
        endpoint(text)


# Datagrams between sender and sink: far less than what the sockets on the way hold, so nothing is lost however slow the
# machine.
IN_FLIGHT = 200


def pass_on(namespace, to, sink, count):
    """Send `count` datagrams of 1,200 bytes as GSO bursts of 40, IN_FLIGHT at most unanswered for → received."""
    control = [(socket.SOL_UDP, UDP_SEGMENT, (1200).to_bytes(2, "little"))]
    burst = bytes(1200 * 40)
    received = 0
    with namespace.entered():
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with out:
        for sent in range(0, count, 40):
            while sent - received >= IN_FLIGHT:
                assert len(sink.recv(2048)) == 1200
                received += 1
            out.sendmsg([burst], control, 0, to)
    while received < count:
        assert len(sink.recv(2048)) == 1200
        received += 1
    return received


@pytest.mark.netns
@pytest.mark.parametrize("options", [{}, {"rate": 100_000}], ids=["bursts", "one by one"])
def test_the_relay_process_loses_nothing_of_what_it_can_hold(netns, options):
    """left ── relay ── right: 20,000 datagrams of 1,200 bytes pass, as many as 200 Mbit/s are in a second."""
    left, middle, right = (netns.namespace(name) for name in ("left", "relay", "right"))
    netns.connect(left, middle, "10.201.1.0/24")
    netns.connect(middle, right, "10.201.2.0/24")
    with right.entered():
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sink, RelayProcess(middle, "10.201.1.2:5000", "10.201.2.2:5001", **options) as relay:
        sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        sink.settimeout(10)
        sink.bind(("10.201.2.2", 5001))
        assert pass_on(left, ("10.201.1.2", 5000), sink, 20_000) == 20_000
        counts = relay.stop()
        assert counts["up"]["received"] == counts["up"]["sent"] == 20_000
        assert counts["refused"] == 0


@pytest.mark.netns
def test_the_relay_process_obeys_signals_and_reports(netns):
    here = netns.namespace("here")
    with here.entered():
        target = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with target, client:
        for end in (target, client):
            end.bind(("127.0.0.1", 0))
            end.settimeout(5)
        relay = RelayProcess(here, "127.0.0.1:0", f"127.0.0.1:{target.getsockname()[1]}")
        client.connect(("127.0.0.1", relay.port))
        client.send(b"1")
        _, first = target.recvfrom(100)
        relay.rebind()
        client.send(b"2")
        assert target.recvfrom(100)[1] != first
        relay.blackout()
        client.send(b"lost")
        # By the second answer the relay's loop has come round, and has read the datagram.
        relay.rebind()
        relay.rebind()
        relay.restore()
        client.send(b"3")
        assert target.recvfrom(100)[0] == b"3"
        counts = relay.stop()
    assert counts["up"]["received"] == 4
    assert counts["up"]["lost_blackout"] == 1
    assert counts["event"] == "ended"
