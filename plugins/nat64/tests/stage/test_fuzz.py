"""Packets of all kinds, whole and mutated, in any order: the stage never fails, forgets no packet, holds little, and
sends a client nothing that exceeds its MTU."""

from fragment_parts import pieces4, pieces6
from hypothesis import given, settings
from hypothesis import strategies as st
from nat64_bench import ACK, FIN, HOST, OTHER, RST, SOURCE, SYN, Bench
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6

from vpnrs_core.packet.header import BadPacket
from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit import packets

FAR, TURN = "64:ff9b:1::192.0.2.9", "64:ff9b:1::10.0.0.254"
BIG = bytes(range(256)) * 8


def seeds6():
    yield from (packets.tcp("fd00::2", to, b"data", flags=f) for to in (FAR, TURN) for f in (SYN, ACK, FIN | ACK, RST))
    yield from (packets.udp("fd00::2", to, b"data" * n, dport=40000) for to in (FAR, TURN) for n in (0, 1, 250))
    yield packets.echo("fd00::2", FAR)
    yield packets.ip_packet("fd00::2", FAR, 132, bytes(30))
    yield packets.udp("fd00::2", FAR, b"data", ip={"options": bytes(6)})
    yield from pieces6(packets.udp("fd00::2", FAR, BIG, dport=40000))
    inner = packets.udp(FAR, "fd00::2", b"data", sport=53, dport=40000)
    yield bytes(IPv6(src="fd00::2", dst=FAR) / ICMPv6DestUnreach(code=4) / inner)
    yield bytes(IPv6(src="fd00::2", dst=FAR) / ICMPv6PacketTooBig(mtu=1280) / inner)


def seeds4():
    yield from (packets.tcp(HOST, SOURCE, b"data", dport=40000, sport=80, flags=f) for f in (SYN, ACK, FIN | ACK, RST))
    yield from (
        packets.udp(host, SOURCE, BIG[:n], dport=40000, sport=53) for host in (HOST, OTHER) for n in (0, 9, 1400)
    )
    yield packets.udp(HOST, SOURCE, BIG, dport=40000, sport=53, ip={"dont_fragment": False})
    yield packets.echo(HOST, SOURCE, reply=True)
    yield packets.ip_packet(HOST, SOURCE, 132, bytes(30))
    yield from pieces4(packets.udp(HOST, SOURCE, BIG, dport=40000))
    inner = packets.udp(SOURCE, HOST, b"data", sport=40000, dport=53)
    yield from (bytes(IP(src=OTHER, dst=SOURCE) / ICMP(type=t, code=c) / inner) for t, c in ((3, 3), (3, 4), (11, 0)))


SEEDS = [(True, data) for data in seeds6()] + [(False, data) for data in seeds4()]
CHANGE = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=3)
STEP = st.tuples(st.sampled_from(SEEDS), CHANGE, st.integers(0, 40), st.sampled_from([0, 0, 0, 1.5, 7, 301]))


def mutated(data, changes, cut):
    new = bytearray(data)
    for at, value in changes:
        if at < len(new):
            new[at] = value
    return bytes(new[: len(new) - cut if changes and cut < len(new) else len(new)])


@given(st.lists(STEP, min_size=5, max_size=40), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_packet_breaks_the_stage(steps, isolation):
    bench = Bench(isolation=isolation)
    for (from_client, data), changes, cut, pause in steps:
        packet = Packet.of(mutated(data, changes, cut))
        try:
            _ = packet.header
        except BadPacket:
            continue
        if from_client:
            bench.pipeline.ingress(bench.a, [packet], bench.now)
        else:
            bench.pipeline.egress([packet], bench.now)
        bench.wait(pause)
        bench.tun()
        assert bench.failures == []
        for peer in (bench.a, bench.b):
            for each in peer.queue.pull(10**9, bench.now):
                if each.src.startswith(bytes.fromhex("0064ff9b0001")):
                    assert each.largest_segment <= 1280
    bench.wait(8000)
    bench.wait(8000)
    assert bench.failures == []
    assert bench.stage.state.count_sessions() == bench.stage.state.count_bindings() == 0
    assert bench.pipeline._tun_stages[0].out.held_bytes == 0
    assert "stage_error" not in bench.dropped()
    assert "bad_reason" not in bench.dropped()
