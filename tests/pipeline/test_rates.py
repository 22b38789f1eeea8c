"""A grant's rates: pacing in the queue and policing on ingress, within 2 %."""

import pytest

from vpnrs_core.counters import DropCounts
from vpnrs_core.interfaces import Rate
from vpnrs_core.packet.packet import Packet
from vpnrs_core.pipeline.police import Police
from vpnrs_core.pipeline.queue import SessionQueue
from vpnrs_core.testkit.packets import super_tcp, udp

PAIR = ("198.51.100.7", "10.0.0.2")


@pytest.mark.parametrize("burst", [500, 3_000, 64_000])
@pytest.mark.parametrize("bits", [1_000_000, 20_000_000, 1_000_000_000])
def test_pacing_keeps_the_rate(bits, burst):
    queue = SessionQueue(DropCounts(), rate=Rate(bits, burst))
    packet = super_tcp(*PAIR, bytes(40_000), 1300)
    now, sent, seconds = 0.0, 0, 100 * 8 * packet.ip_bytes / bits
    pulls = 0
    while now < seconds:
        while queue.bytes < 80_000:
            queue.push(packet, now)
        pulls += 1
        assert pulls < 100_000, "the timer comes too often"
        pulled = queue.pull(10**6, now)
        sent += sum(one.ip_bytes for one in pulled)
        if not pulled:
            then = queue.next_time(now)
            assert then > now
            now = then
    assert sent == pytest.approx(burst + bits / 8 * seconds, rel=0.02)


def test_pull_gives_nothing_until_tokens_are_there():
    told = []
    queue = SessionQueue(DropCounts(), rate=Rate(1_000_000, 1500), on_paced=told.append)
    assert queue.next_time(5.0) is None
    for _ in range(3):
        queue.push(Packet.of(udp(*PAIR, bytes(1222))), 0.0)
    assert len(queue.pull(10**6, 0.0)) == 1
    assert queue.pull(10**6, 0.001) == []
    at = queue.next_time(0.001)
    assert told == [pytest.approx(at)]
    assert at == pytest.approx(0.01, abs=1e-4)
    assert queue.pull(10**6, at - 0.0005) == []
    assert len(queue.pull(10**6, at)) == 1


def test_a_paced_peer_becomes_ready_at_its_time(make_bench):
    bench = make_bench(down=Rate(1_000_000, 1500))
    bench.pipeline.egress([Packet.of(udp(*PAIR, bytes(1222)))] * 2, 0.0)
    assert len(bench.queued(bench.a)) == 1
    bench.pipeline.ready.clear()
    assert bench.queued(bench.a) == []
    at = bench.pipeline.next_wake()
    bench.pipeline.wake(at)
    assert bench.pipeline.ready == {bench.a}
    assert len(bench.queued(bench.a, at)) == 1


def test_a_changed_rate_lets_go(make_bench):
    bench = make_bench(down=Rate(8_000, 1500))
    bench.pipeline.egress([Packet.of(udp(*PAIR, bytes(1222)))] * 3, 0.0)
    assert len(bench.queued(bench.a)) == 1
    bench.pipeline.change(bench.a, mtu=1400, down=None)
    assert bench.a in bench.pipeline.ready
    assert len(bench.queued(bench.a)) == 2


@pytest.mark.parametrize("burst", [10_000, 100_000])
@pytest.mark.parametrize("super_packets", [False, True])
def test_policing_keeps_the_rate_by_segment(super_packets, burst):
    drops = DropCounts()
    bits = 8_000_000
    police = Police(Rate(bits, burst), drops)
    packet = super_tcp(*PAIR, bytes(8_000), 1000) if super_packets else Packet.of(udp(*PAIR, bytes(1000)))
    interval, passed, offered = packet.ip_bytes * 8 / (3 * bits), 0, 0
    seconds = 20.0
    for turn in range(int(seconds / interval)):
        offered += packet.ip_bytes
        admitted = police.admit(packet, turn * interval)
        passed += admitted.ip_bytes if admitted else 0
    assert passed == pytest.approx(burst + bits / 8 * seconds, rel=0.02)
    assert passed + drops.bytes["rate_limit"] == offered


def test_a_burst_below_one_segment_starves_nobody():
    police = Police(Rate(8_000_000, 800), DropCounts())
    packet = Packet.of(udp(*PAIR, bytes(1000)))
    admitted = [police.admit(packet, turn * 0.0005) for turn in range(10_000)]
    passed = sum(one.ip_bytes for one in admitted if one)
    assert 0.5 * 5_000_000 < passed < 1.02 * 5_000_000


def test_a_policed_super_packet_is_cut():
    drops = DropCounts()
    police = Police(Rate(8_000, 2_500), drops)
    packet = super_tcp(*PAIR, bytes(range(250)) * 20, 1000)
    admitted = police.admit(packet, 0.0)
    assert admitted.frame == packet.slice(0, 2).frame
    assert drops.packets["rate_limit"] == packet.segments - 2
    assert police.admit(packet, 0.0) is None


def test_ingress_is_policed_per_session(make_bench):
    bench = make_bench(up=Rate(8_000, 3_000))
    packet = super_tcp("10.0.0.2", PAIR[0], bytes(5_000), 1000)
    bench.pipeline.ingress(bench.a, [packet, packet], 0.0)
    (admitted,) = bench.pipeline.to_tun
    assert admitted.segments == 2
    assert bench.drops.nonzero() == {"rate_limit": 8}
    bench.pipeline.change(bench.a, mtu=1400, up=None)
    bench.pipeline.ingress(bench.a, [packet], 0.0)
    assert bench.pipeline.to_tun[1].segments == 5
