"""The stage contract with the three stages that strain it: 1 → n, n → 1 and later, other header lengths."""

import hold_stage
import split_stage
import translate_stage

from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit.packets import echo, super_tcp, super_udp, tcp, udp

FAR4, FAR6 = "198.51.100.7", "2001:db8::7"


def test_super_packet_becomes_segments(make_bench):
    bench = make_bench(split_stage.Factory())
    packet = super_tcp(FAR6, "fd00::2", bytes(range(256)) * 10, 1000)
    bench.pipeline.egress([packet], 0.0)
    pulled = bench.a.queue.pull(10**6, 0.0)
    assert len(pulled) == 3
    assert [wire for one in pulled for wire in segment(one)] == segment(packet)


def test_new_packets_of_ingress_keep_their_session(make_bench):
    bench = make_bench(split_stage.Factory(), hold_stage.Factory())
    bench.pipeline.ingress(bench.a, [Packet.of(udp("10.0.0.2", FAR4, b"abcd"))], 0.0)
    bench.pipeline.wake(hold_stage.DELAY)
    assert [p.session for p in bench.pipeline.to_tun] == [bench.a.session] * 2
    assert bench.tun() == [udp("10.0.0.2", FAR4, b"ab"), udp("10.0.0.2", FAR4, b"cd")]
    assert bench.failures == []


def test_held_packets_leave_joined_at_their_time(make_bench):
    bench = make_bench(hold_stage.Factory())
    bench.pipeline.egress([Packet.of(udp(FAR4, "10.0.0.2", word)) for word in (b"one", b"two")], 1.0)
    bench.pipeline.egress([Packet.of(udp(FAR4, "10.0.0.2", b"three"))], 1.01)
    bench.pipeline.egress([Packet.of(echo(FAR4, "10.0.0.2"))], 1.02)
    assert bench.queued(bench.a, 1.02) == [echo(FAR4, "10.0.0.2")]
    assert bench.pipeline.next_wake() == 1.0 + hold_stage.DELAY
    bench.pipeline.wake(1.04)
    assert bench.queued(bench.a, 1.04) == []
    bench.pipeline.wake(1.0 + hold_stage.DELAY)
    assert bench.queued(bench.a, 1.05) == [udp(FAR4, "10.0.0.2", b"onetwothree")]
    assert bench.pipeline.next_wake() is None


def test_both_directions_are_let_go_where_they_belong(make_bench):
    bench = make_bench(hold_stage.Factory())
    bench.pipeline.egress([Packet.of(udp(FAR4, "10.0.0.2", b"down"))], 0.0)
    bench.pipeline.ingress(bench.a, [Packet.of(udp("10.0.0.2", FAR4, b"up"))], 0.0)
    bench.pipeline.wake(1.0)
    assert bench.queued(bench.a) == [udp(FAR4, "10.0.0.2", b"down")]
    assert bench.tun() == [udp("10.0.0.2", FAR4, b"up")]


def test_held_bytes_are_bounded(make_bench):
    factory = hold_stage.Factory()
    bench = make_bench(factory)
    packets = [super_udp(FAR4, "10.0.0.2", bytes(60_000), 1200) for _ in range(20)]
    bench.pipeline.egress(packets, 0.0)
    kept = (1 << 20) // packets[0].ip_bytes
    assert factory.made["a"].refused == 20 - kept
    assert bench.drops.packets["hold_limit"] == (20 - kept) * packets[0].segments
    assert bench.failures == []


def test_what_a_closed_session_held_is_counted(make_bench):
    factory = hold_stage.Factory()
    bench = make_bench(factory)
    bench.pipeline.egress([Packet.of(udp(FAR4, "10.0.0.2", b"x"))], 0.0)
    bench.pipeline.close(bench.a, "bye")
    assert factory.made["a"].closed == ["bye"]
    assert bench.drops.nonzero() == {"session_closed": 1}
    assert bench.pipeline.next_wake() is None
    factory.made["a"].wake_at(5.0)
    assert bench.pipeline.next_wake() is None


def test_translation_there_and_back_keeps_a_super_packet_whole(make_bench):
    bench = make_bench(translate_stage.Factory())
    payload = bytes(range(256)) * 20
    there = super_tcp("fd00::2", "64:ff9b::c633:6407", payload, 1000, sport=5555)
    bench.pipeline.ingress(bench.a, [there], 0.0)
    (out,) = bench.pipeline.to_tun
    expected = super_tcp("192.0.2.2", FAR4, payload, 1000, sport=5555, ip={"identification": 0})
    assert out.frame == expected.frame
    assert (out.gso_size, out.segments, out.header_length) == (1000, 6, 40)
    bench.pipeline.egress([super_tcp(FAR4, "192.0.2.2", payload, 1000, dport=5555)], 0.0)
    (back,) = bench.a.queue.pull(10**6, 0.0)
    assert back.frame == super_tcp("64:ff9b::c633:6407", "fd00::2", payload, 1000, dport=5555).frame
    assert bench.failures == []


def test_translation_leaves_the_rest_alone(make_bench):
    bench = make_bench(translate_stage.Factory())
    packet = tcp("fd00::2", FAR6, b"native")
    bench.pipeline.ingress(bench.a, [Packet.of(packet)], 0.0)
    assert bench.tun() == [packet]


def test_hairpin_is_stopped_by_isolation(make_bench):
    bench = make_bench(translate_stage.Factory())
    bench.pipeline.ingress(bench.a, [Packet.of(udp("fd00::2", "64:ff9b::192.0.2.3", b"hi"))], 0.0)
    assert bench.queued(bench.b) == []
    assert bench.tun() == []
    assert bench.drops.nonzero() == {"isolation": 1}


def test_hairpin_reaches_the_other_client_without_isolation(make_bench):
    bench = make_bench(translate_stage.Factory(), isolation=False)
    bench.pipeline.ingress(bench.a, [Packet.of(udp("fd00::2", "64:ff9b::192.0.2.3", b"hi"))], 0.0)
    assert bench.queued(bench.b) == [udp("64:ff9b::192.0.2.2", "fd00::3", b"hi")]
    assert bench.tun() == []
    assert bench.failures == []
    assert bench.drops.nonzero() == {}


def test_hairpin_to_oneself_is_allowed(make_bench):
    bench = make_bench(translate_stage.Factory())
    bench.pipeline.ingress(bench.a, [Packet.of(udp("fd00::2", "64:ff9b::192.0.2.2", b"me"))], 0.0)
    assert bench.queued(bench.a) == [udp("64:ff9b::192.0.2.2", "fd00::2", b"me")]


def test_all_three_together(make_bench):
    bench = make_bench(hold_stage.Factory(), translate_stage.Factory(), split_stage.Factory())
    bench.pipeline.egress([Packet.of(udp(FAR4, "192.0.2.2", b"halves"))], 0.0)
    bench.pipeline.wake(1.0)
    # Split, translated in two pieces, held, and joined again.
    assert bench.queued(bench.a) == [udp("64:ff9b::c633:6407", "fd00::2", b"halves")]
    assert bench.failures == []
