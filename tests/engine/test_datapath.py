"""The turn of the loop: what is read in it, and what leaves in it."""

from ipaddress import ip_address

import pytest

from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.builtin.single import SingleLinkScheduler
from vpnrs_core.counters import DropCounts
from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.containment import FailureReporter
from vpnrs_core.engine.datapath import FULL_READS, READ_PACKETS, Datapath
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.packet.packet import PLAIN_VNET
from vpnrs_core.pipeline.pipeline import Pipeline
from vpnrs_core.testkit.packets import udp
from vpnrs_core.testkit.stage_bench import KitSession
from vpnrs_core.testkit.tun import FakeTun

CLIENT, HOST = "10.77.0.2", "10.77.0.1"


class Lane:
    NAME = "list"

    def __init__(self):
        self.sent = []

    def max_payload(self):
        return 1400

    def room(self):
        return 1 << 20

    def send(self, payloads):
        self.sent += payloads
        return len(payloads)


class Server:
    """A server's datapath with one session, whose peer is `lane` and whose host is `host`."""

    def __init__(self):
        drops = DropCounts()
        self.tun, self.host = FakeTun.pair()
        pipeline = Pipeline("server", [], drops, lambda *_: None, own_addresses=[ip_address(HOST)])
        self.datapath = Datapath(
            self.tun, pipeline, drops, SingleLinkScheduler(), FailureReporter(EventBus()), lambda error: None
        )
        session = KitSession("one", leases=[ip_address(CLIENT)])
        self.peer = pipeline.open(session, mtu=1400)
        self.lane = Lane()
        codec = PlainCodec().open(frozenset(), frozenset(), "datagram")
        self.link = LinkPort(None, self.lane, [(0, "plain", codec)])
        self.datapath.attach(self.peer, self.link)


@pytest.fixture
async def server():
    made = Server()
    yield made
    made.datapath.stop()
    made.tun.close()
    made.host.close()


async def test_what_the_host_answers_at_once_leaves_in_the_turn_that_asked(server):
    question, answer = udp(CLIENT, HOST, b"question"), udp(HOST, CLIENT, b"answer")
    # A kernel answers while it is written to.
    server.host.write_batch([PLAIN_VNET + answer])
    server.datapath.received(server.peer, server.link, [b"\0" + question])
    assert server.host.read_batch(9, 1 << 20) == [PLAIN_VNET + question]
    assert server.lane.sent == [b"\0" + answer]


async def test_a_turn_reads_a_bounded_number_of_packets(server):
    frames = [PLAIN_VNET + udp(HOST, CLIENT, b"%d" % number) for number in range(2 * READ_PACKETS)]
    written = server.host.write_batch(frames)
    assert written > READ_PACKETS
    server.datapath._tun_readable()
    assert server.lane.sent == [b"\0" + frame[len(PLAIN_VNET) :] for frame in frames[:READ_PACKETS]]


async def test_however_many_peers_ask_in_a_turn_the_socket_does_not_wait_for_all_that_the_host_has(server):
    question = [b"\0" + udp(CLIENT, HOST, b"question")]
    flood = [PLAIN_VNET + udp(HOST, CLIENT, b"%d" % number) for number in range(READ_PACKETS)]
    for _ in range(10 * FULL_READS):
        server.host.write_batch(flood)
        server.datapath.received(server.peer, server.link, question)
        server.host.read_batch(9, 1 << 20)
    assert len(server.lane.sent) == FULL_READS * READ_PACKETS
    # The loop finds the TUN readable in its next pass, and so it goes on.
    server.datapath._tun_readable()
    server.host.write_batch(flood)
    server.datapath.received(server.peer, server.link, question)
    assert len(server.lane.sent) == (FULL_READS + 2) * READ_PACKETS


async def test_answers_leave_in_their_turn_as_often_as_the_host_has_nothing_else(server):
    question, answer = udp(CLIENT, HOST, b"question"), udp(HOST, CLIENT, b"answer")
    for _ in range(10 * FULL_READS):
        server.host.write_batch([PLAIN_VNET + answer])
        server.datapath.received(server.peer, server.link, [b"\0" + question])
    assert server.lane.sent == [b"\0" + answer] * (10 * FULL_READS)
