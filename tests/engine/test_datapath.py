"""The turn of the loop: what is read in it, and what leaves in it."""

from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.builtin.single import SingleLinkScheduler
from vpnrs_core.counters import DropCounts
from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.containment import FailureReporter
from vpnrs_core.engine.datapath import FULL_READS, READ_PACKETS, Datapath
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.packet.packet import PLAIN_VNET, Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.pipeline.pipeline import Pipeline
from vpnrs_core.testkit.packets import super_tcp, super_udp, udp
from vpnrs_core.testkit.stage_bench import KitSession
from vpnrs_core.testkit.tun import FakeTun

CLIENT, HOST = "10.77.0.2", "10.77.0.1"


class Lane:
    """`open`: whether it takes anything."""

    NAME = "list"

    def __init__(self):
        self.sent = []
        self.open = True

    def max_payload(self):
        return 1400

    def room(self):
        return 1 << 20 if self.open else 0

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
        self.peer, self.link, self.lane = self.connect("one", CLIENT)

    def connect(self, name, *addresses, mtu=1399):
        peer = self.datapath.pipeline.open(KitSession(name, leases=list(map(ip_address, addresses))), mtu=mtu)
        lane = Lane()
        codec = PlainCodec().open(frozenset(), frozenset(), "datagram")
        link = LinkPort(None, lane, [(0, "plain", codec)])
        self.datapath.attach(peer, link)
        return peer, link, lane

    def egress(self, *packets):
        """What the host sends → what it is told."""
        self.host.write_batch([packet.frame for packet in packets])
        self.datapath._tun_readable()
        return self.host.receive()


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


async def test_a_peer_that_takes_nothing_costs_the_others_nothing(server):
    dead, _, lane = server.connect("dead", "10.77.0.3")
    lane.open = False
    wanted = []
    for number in range(100):
        wanted.append(udp(HOST, CLIENT, b"%d" % number))
        assert server.egress(super_udp(HOST, "10.77.0.3", bytes(60_000), 1200), Packet.of(wanted[-1])) == []
        assert server.datapath._brake.until is None
        assert server.lane.sent == [b"\0" + ip for ip in wanted]
    assert lane.sent == []
    assert dead.queue.bytes <= dead.queue.limit
    assert dead.drops.nonzero().keys() == {"queue_overflow"}
    assert server.peer.drops.nonzero() == {}
    # It takes what is left as soon as it can.
    lane.open = True
    server.datapath.writable(dead, server.datapath._links[dead][0])
    assert dead.queue.bytes == 0
    assert sum(map(len, lane.sent)) + dead.drops.bytes["queue_overflow"] >= 100 * 60_000


SIX_HOST, SIX_CLIENT = "fd77::1", "fd77::2"


@pytest.fixture
def narrow(server):
    """Two sessions' worth of addresses, and 1,300 bytes at most."""
    return server.connect("narrow", "10.77.0.4", SIX_CLIENT, mtu=1300)


def told_mtu(ip):
    return int.from_bytes(ip[26:28] if ip[0] >> 4 == 4 else ip[44:48], "big")


@pytest.mark.parametrize("addresses", [(HOST, "10.77.0.4"), (SIX_HOST, SIX_CLIENT)], ids=["v4", "v6"])
async def test_a_tcp_super_packet_that_fits_no_more_goes_in_smaller_segments_and_its_sender_is_told(
    server, narrow, addresses
):
    peer, _, lane = narrow
    whole = super_tcp(*addresses, bytes(range(250)) * 40, 1340)
    [error] = server.egress(whole)
    assert told_mtu(error) == 1300
    assert max(map(len, lane.sent)) == 1301
    header = whole.header_length
    assert b"".join(payload[1 + header :] for payload in lane.sent) == whole.data[header:]
    assert peer.drops.nonzero() == {}


async def test_while_a_path_is_searched_tcp_goes_in_smaller_segments_and_nobody_is_told(server, narrow):
    """A kernel would keep to what the search passes by for ten minutes."""
    peer, link, lane = narrow
    link.prober = SimpleNamespace(judged=False)
    assert server.egress(super_tcp(HOST, "10.77.0.4", bytes(10_000), 1340)) == []
    assert max(map(len, lane.sent)) == 1301
    assert peer.drops.nonzero() == {}


@pytest.mark.parametrize("addresses", [(HOST, "10.77.0.4"), (SIX_HOST, SIX_CLIENT)], ids=["v4", "v6"])
async def test_a_udp_super_packet_that_fits_no_more_is_counted_by_datagram_and_answered_once(server, narrow, addresses):
    peer, _, lane = narrow
    [error] = server.egress(super_udp(*addresses, bytes(10 * 1340), 1340))
    assert told_mtu(error) == 1300
    assert lane.sent == []
    assert peer.drops.nonzero() == {"too_big": 10}


async def test_datagrams_that_may_be_fragmented_are_one_by_one(server, narrow):
    peer, _, lane = narrow
    whole = super_udp(HOST, "10.77.0.4", bytes(10 * 1340), 1340, ip={"dont_fragment": False})
    assert server.egress(whole) == []
    assert len(lane.sent) == 20
    assert [payload[21:] for payload in lane.sent[::2]] == [ip[20:1300] for ip in segment(whole)]
    assert peer.drops.nonzero() == {}


async def test_nobody_is_told_to_send_less_than_ipv6_guarantees(server):
    peer, _, lane = server.connect("tiny", SIX_CLIENT, mtu=1200)
    assert server.egress(Packet.of(udp(SIX_HOST, SIX_CLIENT, bytes(1232)))) == []
    assert lane.sent == []
    assert peer.drops.nonzero() == {"too_big": 1}
