"""The session queue: sparse flows first, fair turns, CoDel, bounds, cuts; and nothing is lost uncounted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnrs_core.counters import DropCounts, FlowCounters
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.pipeline.flow import flow_key
from vpnrs_core.pipeline.queue import CEILING, FLOOR, MAX_AGE, MAX_FLOWS, SessionQueue
from vpnrs_core.testkit.packets import echo, ip_packet, super_tcp, tcp, udp

PAIR = ("198.51.100.7", "10.0.0.2")
SIX = ("2001:db8::7", "fd00::2")
BULK = super_tcp(*PAIR, bytes(60_000), 1300, sport=5201)
SMALL = Packet.of(udp(*PAIR, bytes(1000), sport=9))
PING = Packet.of(echo(*PAIR))


@pytest.fixture
def drops():
    return DropCounts()


@pytest.fixture
def queue(drops):
    return SessionQueue(drops)


def test_one_flow_stays_in_order(queue):
    packets = [Packet.of(udp(*PAIR, bytes((n,)))) for n in range(100)]
    for packet in packets:
        queue.push(packet, 0.0)
    assert (queue.packets, queue.bytes) == (100, 2900)
    assert queue.pull(10**6, 0.0) == packets
    assert (queue.packets, queue.bytes, bool(queue), queue.pull(10**6, 0.0)) == (0, 0, False, [])


def test_a_sparse_flow_overtakes_bulk(queue):
    for _ in range(10):
        queue.push(BULK, 0.0)
    queue.pull(30_000, 0.0)
    queue.push(PING, 0.001)
    assert queue.pull(30_000, 0.001)[0] is PING


def test_bulk_flows_take_turns_by_bytes(queue):
    sizes = {1: 1200, 2: 600, 3: 50}
    for n in range(2000):
        for sport, size in sizes.items():
            if n * size < 200_000:
                queue.push(Packet.of(udp(*PAIR, bytes(size), sport=sport)), 0.0)
    shares = dict.fromkeys(sizes, 0)
    for packet in queue.pull(240_000, 0.0):
        shares[int.from_bytes(packet.data[20:22], "big")] += packet.ip_bytes
    assert max(shares.values()) - min(shares.values()) <= 2 * 4096


def test_a_pull_cuts_the_head_to_what_fits(queue):
    queue.push(BULK, 0.0)
    wire = []
    while queue:
        pulled = queue.pull(10_000, 0.0)
        assert sum(packet.ip_bytes for packet in pulled) <= 10_000
        wire += [data for packet in pulled for data in segment(packet)]
    assert wire == segment(BULK)


def test_nothing_is_cut_behind_a_whole_super_packet(queue):
    queue.push(BULK, 0.0)
    queue.push(BULK, 0.0)
    room = BULK.ip_bytes * 3 // 2
    assert [packet.segments for packet in queue.pull(room, 0.0)] == [BULK.segments]
    assert [packet.segments for packet in queue.pull(room, 0.0)] == [BULK.segments]


def test_a_pull_gives_one_segment_at_least(queue):
    queue.push(BULK, 0.0)
    queue.push(SMALL, 0.0)
    assert [packet.segments for packet in queue.pull(1, 0.0)] == [1]
    assert queue.pull(0, 0.0) == []


def test_the_longest_flow_loses_whole_super_packets(queue, drops):
    for _ in range(15):
        queue.push(BULK, 0.0)
    thin = [Packet.of(udp(*PAIR, bytes(1000), sport=sport)) for sport in range(100)]
    for packet in thin:
        queue.push(packet, 0.0)
    for _ in range(5):
        queue.push(BULK, 0.0)
    assert queue.bytes <= CEILING
    assert drops.packets["queue_overflow"] % BULK.segments == 0
    assert drops.packets["queue_overflow"] > 0
    pulled = queue.pull(2 * CEILING, 0.0)
    assert set(thin) <= set(pulled)
    assert len(pulled) - len(thin) + drops.packets["queue_overflow"] // BULK.segments == 20


def test_overflow_finds_the_longest_among_many_flows(queue, drops):
    for sport in range(200):
        for _ in range(4):
            queue.push(Packet.of(udp(*PAIR, bytes(1000), sport=sport)), 0.0)
    for _ in range(500):
        queue.push(Packet.of(udp(*SIX, bytes(1000))), 0.0)
    lost = drops.packets["queue_overflow"]
    left = queue.pull(2 * CEILING, 0.0)
    assert lost > 0
    assert len([packet for packet in left if packet.version == 4]) == 800


def test_more_flows_than_are_kept_apart_share(queue, drops):
    for sport in range(MAX_FLOWS + 500):
        queue.push(Packet.of(udp(*PAIR, b"x", sport=sport)), 0.0)
    assert len(queue._flows) <= 2 * MAX_FLOWS
    assert len(queue.pull(10**6, 0.0)) == MAX_FLOWS + 500
    assert drops.total() == 0


def drive(queue, rate, seconds, offer, turn=0.005):
    """A link of `rate` bytes a second that is served every turn. → (flow, delay) of each packet that left."""
    now, credit, left, sent = 0.0, 0.0, [], {}
    while now < seconds:
        for packet in offer(now):
            sent[id(packet)] = (packet, now)
            queue.push(packet, now)
        credit = min(credit + rate * turn, rate * turn + 3000)
        while credit > 0 and queue:
            pulled = queue.pull(int(credit) + 1, now)
            if not pulled:
                break
            for packet in pulled:
                credit -= packet.ip_bytes
                if id(packet) in sent:
                    left.append((packet.protocol, now - sent[id(packet)][1]))
        now += turn
    return left


def test_a_sparse_flow_is_quick_under_load(queue):
    def offer(now):
        yield from (BULK.with_session(None), BULK.with_session(None))
        if round(now * 1000) % 100 == 0:
            yield PING.with_session(None)

    left = drive(queue, 1_250_000, 5.0, offer)
    pings = [delay for protocol, delay in left if protocol == 1]
    assert len(pings) >= 50
    assert max(pings) <= 0.005


def test_codel_drops_from_a_standing_queue_at_its_pace(queue, drops):
    """RFC 8289: the first drop 100 ms after the sojourn time went above 5 ms, the next after 100 ms, 100/√2 …"""
    times, now = [], 0.0
    for _ in range(40):
        queue.push(SMALL.with_session(None), 0.0)
    for step in range(1000):
        now = step / 1000
        if step % 10 == 0:
            queue.push(SMALL.with_session(None), now)
            before = drops.packets["queue_delay"]
            assert len(queue.pull(1028, now)) == 1
            times += [now] * (drops.packets["queue_delay"] - before)
    assert times[:4] == pytest.approx([0.11, 0.21, 0.29, 0.34], abs=0.011)


def test_codel_leaves_a_short_queue_alone(queue, drops):
    left = drive(queue, 1_250_000, 2.0, lambda now: [SMALL.with_session(None)] * 1)
    assert len(left) >= 399
    assert drops.total() == 0


def test_codel_drops_a_segment_not_a_super_packet(queue, drops):
    for _ in range(8):
        queue.push(BULK.with_session(None), 0.0)
    queue.pull(10_000, 0.05)
    queue.pull(10_000, 0.16)
    assert drops.packets["queue_delay"] == 1
    assert drops.bytes["queue_delay"] == 1340


def test_what_is_stale_is_not_sent(queue, drops):
    queue.push(BULK, 0.0)
    queue.push(SMALL, MAX_AGE)
    assert queue.pull(10**6, MAX_AGE + 0.001) == [SMALL]
    assert drops.packets["queue_delay"] == BULK.segments
    assert drops.bytes["queue_delay"] == BULK.ip_bytes


def test_the_limit_follows_the_drain_rate(queue):
    drive(queue, 12_500_000, 1.0, lambda now: [BULK.with_session(None)] * 3)
    assert queue.limit == pytest.approx(1_000_000, rel=0.02)
    drive(queue, 2_500_000, 2.0, lambda now: [BULK.with_session(None)])
    assert queue.limit == pytest.approx(250_000, rel=0.1)
    drive(queue, 125_000, 3.0, lambda now: [BULK.with_session(None)])
    assert queue.limit == FLOOR


def test_a_dead_link_keeps_little(queue, drops):
    for step in range(100):
        queue.push(BULK.with_session(None), step / 100)
    assert queue.bytes <= FLOOR
    assert queue.oldest_age(1.0) <= 0.05


def test_clear_counts_everything(queue, drops):
    queue.push(BULK, 0.0)
    queue.push(SMALL, 0.0)
    queue.clear("session_closed")
    assert drops.packets["session_closed"] == BULK.segments + 1
    assert drops.bytes["session_closed"] == BULK.ip_bytes + SMALL.ip_bytes
    assert (queue.bytes, queue.packets, queue.pull(10**6, 0.0)) == (0, 0, [])
    queue.push(SMALL, 1.0)
    assert queue.pull(10**6, 1.0) == [SMALL]


def test_flow_keys_tell_flows_apart_and_keep_fragments_together():
    assert flow_key(SMALL) != flow_key(Packet.of(udp(*PAIR, sport=10)))
    assert flow_key(Packet.of(udp(*PAIR))) != flow_key(Packet.of(tcp(*PAIR, sport=40000, dport=53)))
    for pair in (PAIR, SIX):
        plain, optioned = udp(*pair, b"a"), udp(*pair, b"b", ip={"options": b"\1" * (4 if pair is PAIR else 6)})
        assert flow_key(Packet.of(plain))[0] == flow_key(Packet.of(optioned))[0] == 17
        other = udp(*pair, b"b", sport=7, ip={"options": b"\1" * (4 if pair is PAIR else 6)})
        assert flow_key(Packet.of(optioned)) != flow_key(Packet.of(other))
    first = bytearray(ip_packet(*PAIR, 17, bytes(range(64)), dont_fragment=False))
    first[6] |= 0x20
    second = bytearray(ip_packet(*PAIR, 17, bytes(range(64, 104)), dont_fragment=False))
    second[7] = 8
    assert flow_key(Packet.of(bytes(first))) == flow_key(Packet.of(bytes(second)))


actions = st.lists(
    st.tuples(st.sampled_from(["bulk", "small", "ping", "pull"]), st.integers(0, 5), st.floats(0, 0.3)), max_size=80
)


@settings(max_examples=60, deadline=None)
@given(actions)
def test_every_byte_is_queued_pulled_or_counted(script):
    drops, counters = DropCounts(), FlowCounters()
    queue = SessionQueue(drops, counters)
    now, entered, entered_bytes = 0.0, 0, 0
    for action, number, wait in script:
        now += wait
        if action == "pull":
            queue.pull(number * 20_000 + 1, now)
            continue
        packet = {
            "bulk": super_tcp(*SIX, bytes(10_000 * (number + 1)), 1300, sport=number),
            "small": Packet.of(udp(*PAIR, bytes(1000), sport=number)),
            "ping": PING,
        }[action].with_session(None)
        entered += packet.segments
        entered_bytes += packet.ip_bytes
        queue.push(packet, now)
    assert queue.bytes == sum(flow.bytes for flow in queue._flows.values())
    assert queue.packets == sum(len(flow.packets) for flow in queue._flows.values())
    assert entered_bytes == counters.egress_bytes + queue.bytes + sum(drops.bytes.values())
    waiting = sum(packet.segments for flow in queue._flows.values() for packet, _, _ in flow.packets)
    assert entered == counters.egress_packets + waiting + drops.total()


def test_a_flow_that_empties_and_returns_does_not_starve_bulk(queue):
    """RFC 8290 §4.2: it stays known for a round of the others, so coming back at once does not make it new again."""
    for _ in range(8):
        queue.push(BULK.with_session(None), 0.0)
    bulk = sum(packet.ip_bytes for packet in queue.pull(10_000, 0.0))
    for _ in range(1000):
        for _ in range(4):
            queue.push(Packet.of(udp(*PAIR, bytes(500))), 0.0)
        bulk += sum(packet.ip_bytes for packet in queue.pull(3000, 0.0) if packet.protocol == 6)
    assert bulk >= 8 * BULK.ip_bytes * 0.9
