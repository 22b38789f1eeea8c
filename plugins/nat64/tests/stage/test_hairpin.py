"""S7: from client to client through the translator, only where isolation lets them; and what dies with a session."""

from ipaddress import ip_address

import pytest
from fragment_parts import pieces4, pieces6
from nat64_bench import ACK, HOST, SOURCE, SYN, Bench, sound
from scapy.layers.inet import ICMP, IP, TCP, UDP, UDPerror
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6, defragment6

from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit import packets

DATA = bytes(range(200))


def mapped(bench, port=40003):
    """Client b has a binding on this port."""
    bench.send(packets.udp("fd00::3", bench.far(), b"hello", sport=port), peer=bench.b)
    return bench.far(SOURCE)


def test_s7_one_client_reaches_another_by_its_outer_endpoint():
    bench = Bench(isolation=False)
    target = mapped(bench)
    for _ in range(3):
        assert bench.send(packets.udp("fd00::2", target, DATA, sport=40002, dport=40003, ip={"ttl": 9})) == []
        got = sound(bench.queued(bench.b)[0])
        assert (got.src, got.dst, got.hlim) == (bench.prefix + "a00:fe", "fd00::3", 8)
        assert (got[UDP].sport, got[UDP].dport, bytes(got[UDP].payload)) == (40002, 40003, DATA)
        bench.send(packets.udp("fd00::3", target, DATA, sport=40003, dport=40002), peer=bench.b)
        assert sound(bench.queued(bench.a)[0])[UDP].sport == 40003
    assert bench.dropped() == {}
    assert bench.failures == []


def test_s7_isolation_holds_for_hairpins():
    bench = Bench(isolation=True)
    target = mapped(bench)
    assert bench.send(packets.udp("fd00::2", target, DATA, sport=40002, dport=40003)) == []
    assert bench.queued(bench.b) == []
    assert bench.dropped() == {"isolation": 1}


@pytest.mark.parametrize("isolation", [True, False])
def test_s7_isolation_holds_for_a_clients_ipv4_packets_to_a_source_outside_of_the_pools(isolation):
    """By way of the kernel they would come back as packets of nobody."""
    bench = Bench(isolation=isolation, source_ip="10.88.0.1")
    mapped(bench)
    c = bench.join("c", "10.0.0.9")
    parts = [
        packets.udp("10.0.0.9", "10.88.0.1", DATA, sport=9, dport=40003),
        *pieces4(packets.udp("10.0.0.9", "10.88.0.1", bytes(3000), sport=9, dport=40003)),
    ]
    for data in parts:
        assert bench.send(data, peer=c) == []
    if isolation:
        assert bench.queued(bench.b) == []
        assert bench.dropped() == {"isolation": 4}
        return
    got = [IPv6(each) for each in bench.queued(bench.b)]
    assert (got[0].src, bytes(got[0][UDP].payload)) == (bench.prefix + "a00:9", DATA)
    assert bytes(defragment6(got[1:])[UDP].payload) == bytes(3000)
    bench.send(packets.udp("10.0.0.9", "10.88.0.1", DATA, sport=9, dport=40004), peer=c)
    assert IP(bench.queued(c)[0])[ICMP].code == 3
    assert bench.dropped() == {"nat64.no_binding": 1}
    assert bench.pipeline._tun_stages[0].out.held_bytes == 0


def test_a_kept_syn_of_a_client_goes_with_it():
    bench = Bench(isolation=False, source_ip="10.88.0.1")
    c = bench.join("c", "10.0.0.9")
    syn = packets.tcp("10.0.0.9", "10.88.0.1", sport=9, dport=40003, flags=SYN)
    bench.send(syn, peer=c)
    assert bench.wait(7) == []
    assert IP(bench.queued(c)[0])[ICMP].code == 3
    bench.send(syn, peer=c)
    bench.pipeline.close(c, "ended")
    d = bench.join("d", "10.0.0.9")
    assert bench.wait(7) == bench.queued(d) == []
    assert bench.dropped() == {"nat64.unanswered_syn": 1, "nat64.client_gone": 1}
    assert bench.pipeline._tun_stages[0].out.held_bytes == 0


def test_packets_that_another_stage_held_until_their_client_was_gone_cost_nobody_else_anything():
    bench = Bench()
    bench.pipeline.close(bench.a, "ended")
    late = Packet.of(packets.udp("fd00::2", bench.far(), DATA), bench.a.session)
    other = Packet.of(packets.udp("fd00::3", bench.far(), DATA), bench.b.session)
    bench.pipeline._carrier.from_peer(bench.b, [late, other], bench.now)
    assert len(bench.tun()) == 1
    assert bench.dropped() == {"nat64.client_gone": 1}


def test_s7_a_client_reaches_itself_even_when_isolated():
    bench = Bench()
    bench.send(packets.udp("fd00::2", bench.far(), b"hello", sport=40002))
    bench.send(packets.udp("fd00::2", bench.far(SOURCE), DATA, sport=40005, dport=40002))
    assert sound(bench.queued()[0])[UDP].dport == 40002


def test_s7_tcp_opens_from_client_to_client():
    bench = Bench(isolation=False)
    bench.send(packets.tcp("fd00::3", bench.far(), sport=40003, dport=80, flags=SYN), peer=bench.b)
    target = bench.far(SOURCE)
    bench.send(packets.tcp("fd00::2", target, sport=40002, dport=40003, flags=SYN))
    assert sound(bench.queued(bench.b)[0])[TCP].flags == "S"
    bench.send(packets.tcp("fd00::3", target, sport=40003, dport=40002, flags=SYN | ACK), peer=bench.b)
    assert sound(bench.queued()[0])[TCP].flags == "SA"
    bench.send(packets.tcp("fd00::2", target, DATA, sport=40002, dport=40003))
    assert bytes(sound(bench.queued(bench.b)[0])[TCP].payload) == DATA


def test_s7_nobodys_port_is_refused_in_the_clients_own_terms():
    bench = Bench(isolation=False)
    bench.send(packets.udp("fd00::2", bench.far(SOURCE), DATA, sport=40002, dport=41000))
    got = sound(bench.queued()[0])
    assert got[ICMPv6DestUnreach].code == 4
    assert (got[UDPerror].sport, got[UDPerror].dport) == (40002, 41000)
    bench.send(packets.tcp("fd00::2", bench.far(SOURCE), sport=40002, dport=41000, flags=SYN))
    assert bench.queued() == []
    assert bench.dropped() == {"nat64.no_binding": 2}
    assert bench.wait(7) == []


def test_s7_what_does_not_fit_the_other_client_is_told_the_first():
    bench = Bench(isolation=False, mtu=1400)
    c = bench.join("c", "fd00::4", 1280)
    bench.send(packets.udp("fd00::4", bench.far(), b"hello", sport=40004), peer=c)
    for _ in range(2):
        bench.send(packets.udp("fd00::2", bench.far(SOURCE), bytes(1300), sport=40002, dport=40004))
        got = sound(bench.queued()[0])
        assert got[ICMPv6PacketTooBig].mtu == 1280
        assert got[UDPerror].sport == 40002


def test_s7_errors_turn_as_well():
    bench = Bench(isolation=False)
    target = mapped(bench)
    bench.send(packets.udp("fd00::2", target, DATA, sport=40002, dport=40003))
    (arrived,) = bench.queued(bench.b)
    error = IPv6(src="fd00::3", dst=target) / ICMPv6DestUnreach(code=4) / arrived
    bench.send(bytes(error), peer=bench.b)
    got = sound(bench.queued()[0])
    assert got[ICMPv6DestUnreach].code == 4
    assert (got[UDPerror].sport, got[UDPerror].dport) == (40002, 40003)


def test_s7_fragments_turn_as_well():
    bench = Bench(isolation=False)
    target = mapped(bench)
    parts = pieces6(packets.udp("fd00::2", target, bytes(3000), sport=40002, dport=40003))
    assert bench.send(parts[0]) == bench.send(parts[1]) == bench.send(parts[2]) == []
    got = [IPv6(each) for each in bench.queued(bench.b)]
    assert all(len(each) <= 1280 for each in got)
    assert bytes(defragment6(got)[UDP].payload) == bytes(3000)
    assert bench.failures == []
    assert bench.dropped() == {}
    assert bench.pipeline._tun_stages[0].out.held_bytes == 0


def test_mappings_die_with_their_session():
    bench = Bench()
    bench.connect(sport=40000)
    for _ in range(3):
        bench.send(packets.udp("fd00::2", bench.far(), DATA, sport=40002))
    bench.pipeline.close(bench.a, "ended")
    c = bench.join("c", "fd00::2")  # its address, at once
    assert bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40002), peer=c) == []
    assert bench.receive(packets.tcp(HOST, SOURCE, DATA, sport=80, dport=40000), peer=c) == []
    assert IP(bench.tun()[0])[ICMP].code == 3
    bench.wait(0.1)
    assert bench.stage.state.count_bindings() == 0
    bench.send(packets.udp("fd00::2", bench.far(), DATA, sport=40002), peer=c)
    assert sound(bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40002), peer=c)[0]).dst == "fd00::2"


def test_a_released_address_takes_its_mappings_along():
    bench = Bench()
    bench.send(packets.udp("fd00::2", bench.far(), DATA))
    bench.a.session.leases = []
    bench.pipeline.change(bench.a, mtu=1280)
    assert bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000)) == []
    assert bench.dropped() == {"nat64.no_binding": 1}


def test_a_client_that_changed_its_address_begins_anew():
    bench = Bench()
    bench.send(packets.udp("fd00::2", bench.far(), DATA))
    bench.a.session.leases = [ip_address("fd00::5")]
    bench.pipeline.change(bench.a, mtu=1280)
    assert bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000)) == []
    bench.send(packets.udp("fd00::5", bench.far(), DATA))
    bench.wait(0.1)
    assert sound(bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000))[0]).dst == "fd00::5"
    assert bench.stage.state.count_bindings() == 1


def test_a_static_binding_leads_to_whoever_has_the_address():
    bench = Bench(static=[{"protocol": "tcp", "port": 8080, "to": "[fd00::9]:80"}])
    syn = packets.tcp(HOST, SOURCE, sport=999, dport=8080, flags=SYN)
    assert bench.receive(syn) == []
    c = bench.join("c", "fd00::9")
    bench.wait(7)
    bench.tun()
    got = sound(bench.receive(syn, peer=c)[0])
    assert (got.dst, got[TCP].dport) == ("fd00::9", 80)
    (out,) = bench.send(packets.tcp("fd00::9", bench.far(), sport=80, dport=999, flags=SYN | ACK), peer=c)
    assert IP(out)[TCP].sport == 8080
    bench.pipeline.close(c, "ended")
    bench.wait(0.1)
    assert bench.receive(packets.tcp(HOST, SOURCE, sport=999, dport=8080), peer=c) == []
