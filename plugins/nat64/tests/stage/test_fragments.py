"""Fragments of both families: put together in any order, held within bounds, given up in time or with their client."""

import itertools

import pytest
from fragment_parts import pieces4, pieces6
from nat64_bench import HOST, SOURCE, Bench, sound
from scapy.layers.inet import ICMP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6TimeExceeded, IPv6, defragment6

from vpnrs_core.packet.checksum import checksum
from vpnrs_core.testkit import packets

DATA = bytes(range(256)) * 12


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_f1_f3_a_large_ping_is_put_together_in_any_order(order):
    bench = Bench()
    parts = pieces6(packets.echo("fd00::2", bench.far(), DATA, ident=7))
    assert len(parts) == 3
    out = [packet for n in order for packet in bench.send(parts[n])]
    (whole,) = out  # the host's own IPv4 fragments it again where it has to
    assert bytes(sound(whole)[ICMP].payload) == DATA
    reply = pieces4(packets.echo(HOST, SOURCE, DATA, reply=True, ident=7), 1400)
    back = [IPv6(packet) for n in order for packet in bench.receive(reply[n])]
    assert all(len(packet) <= 1280 for packet in back)
    got = sound(bytes(defragment6(back)))
    assert bytes(got[ICMPv6EchoReply].data) == DATA
    assert bench.dropped() == {}


def test_s9_fragments_of_two_clients_with_one_identification_do_not_mix_at_the_host():
    """All clients share the source address, and each chooses its own identifications."""
    bench = Bench()
    found = []
    for peer, address in ((bench.a, "fd00::2"), (bench.b, "fd00::3")):
        for size in (3000, 3000):
            (out,) = bench.send(*pieces6(packets.udp(address, bench.far(), bytes(size))), peer=peer)
            found.append(sound(out))
    assert not any(each.flags.DF for each in found)
    assert len({each.id for each in found}) == 4


def test_m4_large_udp_without_df_comes_in_fragments_that_fit():
    bench = Bench()
    bench.send(packets.udp("fd00::2", bench.far(), b"ask"))
    back = bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000, ip={"dont_fragment": False}))
    assert [len(each) for each in back] == [1280, 1280, len(DATA) + 8 - 2 * 1232 + 48]
    assert bytes(defragment6([IPv6(each) for each in back])[UDP].payload) == DATA


def test_fragments_that_stay_alone_are_dropped_counted_and_told():
    bench = Bench(fragment_timeout=2)
    first, *_ = pieces6(packets.udp("fd00::2", bench.far(), DATA))
    assert bench.send(first) == []
    bench.wait(3)
    assert sound(bench.queued()[0])[ICMPv6TimeExceeded].code == 1
    assert bench.dropped() == {"nat64.fragment_timeout": 1}
    bench.receive(pieces4(packets.udp(HOST, SOURCE, DATA, dport=40000))[1])
    assert bench.wait(3) == []  # without the first one nobody is told
    assert bench.dropped() == {"nat64.fragment_timeout": 2}
    assert bench.pipeline._tun_stages[0].out.held_bytes == 0


@pytest.mark.parametrize("make", [packets.tcp, packets.udp])
@pytest.mark.parametrize(("offset", "size"), [(1, 4), (1, 16), (0x2000, 8), (0x2001, 16)])
def test_short_fragments_that_begin_like_a_session_of_the_fast_path(make, offset, size):
    bench = Bench()
    bench.connect()
    for _ in range(3):
        bench.send(make("fd00::2", bench.far(), b"out", dport=80))
        bench.receive(make(HOST, SOURCE, b"in", sport=80, dport=40000))
    piece = bytearray(make(HOST, SOURCE, b"in" * 9, sport=80, dport=40000)[: 20 + size])
    piece[2:4], piece[6:8], piece[10:12] = len(piece).to_bytes(2, "big"), offset.to_bytes(2, "big"), b"\0\0"
    piece[10:12] = checksum(bytes(piece[:20])).to_bytes(2, "big")
    assert bench.receive(bytes(piece)) == []
    assert bench.failures == []
    assert len(bench.stage.fragments) == 1


def test_overlapping_fragments_go_all_of_them():
    bench = Bench()
    first, second, third = pieces6(packets.udp("fd00::2", bench.far(), DATA))
    overlapping = bytearray(second)
    overlapping[43] -= 8
    assert bench.send(first, bytes(overlapping), third) == []
    assert bench.dropped() == {"nat64.fragment_overlap": 3}
    assert bench.pipeline._tun_stages[0].out.held_bytes == 0


def test_fragments_of_a_client_that_leaves_are_given_up():
    bench = Bench()
    bench.send(pieces6(packets.udp("fd00::2", bench.far(), DATA))[0])
    bench.pipeline.close(bench.a, "gone")
    bench.wait(0.1)
    assert bench.dropped() == {"nat64.client_gone": 1}
    assert bench.pipeline._tun_stages[0].out.held_bytes == 0


def test_a_flood_of_fragments_is_bounded():
    bench = Bench()
    data = bytearray(pieces6(packets.udp("fd00::2", bench.far(), DATA))[0])
    for n in range(3000):
        data[44:48] = n.to_bytes(4, "big")
        bench.send(bytes(data))
    assert bench.pipeline._tun_stages[0].out.held_bytes < 1 << 20
    assert bench.dropped().keys() == {"nat64.fragment_limit"}
    assert bench.failures == []


def test_the_whole_of_fragments_may_be_refused():
    bench = Bench(prefix="64:ff9b::/96")
    parts = pieces6(packets.udp("fd00::2", "64:ff9b::10.1.2.3", DATA))
    assert bench.send(*parts) == []
    assert bench.dropped() == {"nat64.private_address": 3}
    assert bench.failures == []
