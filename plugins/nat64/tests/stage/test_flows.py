"""TCP, UDP and echo through the pipeline: both ways, whole super-packets, fast path and slow path alike."""

import pytest
from nat64_bench import ACK, FIN, HOST, OTHER, RST, SOURCE, SYN, Bench, sound
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR
from scapy.layers.inet6 import ICMPv6EchoReply, IPv6
from vpnrs_nat64.state.records import Session

from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit import packets

DATA = b"nothing is repeated"


def test_tcp_goes_over_and_comes_back():
    bench = Bench()
    first, answer = bench.connect()
    assert (first.src, first.dst, first.ttl) == (SOURCE, HOST, 63)
    assert first[TCP].dport == 80
    assert (answer.src, answer.dst, answer[TCP].dport) == (
        bench.far(HOST).replace("192.0.2.9", "c000:209"),
        "fd00::2",
        40000,
    )
    for _ in range(4):  # the third and later ones take the fast path
        out = sound(bench.send(packets.tcp("fd00::2", bench.far(), DATA, dport=80))[0])
        assert bytes(out[TCP].payload) == DATA
        back = packets.tcp(HOST, SOURCE, DATA, sport=80, dport=first[TCP].sport)
        assert bytes(sound(bench.receive(back)[0])[TCP].payload) == DATA
    assert bench.dropped() == {}
    assert bench.failures == []


@pytest.mark.parametrize("sport", [1, 999, 1024, 1234, 40000, 65535])
def test_s2_the_port_is_preserved_or_of_its_class(sport):
    """Without any configuration, and of the second client that wants it."""
    for make, layer in ((packets.tcp, TCP), (packets.udp, UDP)):
        bench, more = Bench(), {"flags": SYN} if make is packets.tcp else {}
        (first,) = bench.send(make("fd00::2", bench.far(), sport=sport, **more))
        (second,) = bench.send(make("fd00::3", bench.far(), sport=sport, **more), peer=bench.b)
        other = IP(second)[layer].sport
        assert IP(first)[layer].sport == sport != other
        assert (other < 1024) is (sport < 1024)
    assert other % 2 == sport % 2  # of UDP


def test_s2_no_port_outside_of_the_range_is_given():
    assert Bench(port_range=[32768, 65535]).connect(sport=1234)[0][TCP].sport >= 32768


def test_udp_goes_over_and_comes_back():
    bench = Bench()
    for _ in range(4):
        out = sound(bench.send(packets.udp("fd00::2", bench.far(), DATA))[0])
        assert (out.src, out.dst, out[UDP].sport, out[UDP].dport) == (SOURCE, HOST, 40000, 53)
        back = sound(bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000))[0])
        assert (back.dst, back[UDP].dport, bytes(back[UDP].payload)) == ("fd00::2", 40000, DATA)


def test_s8_echo_goes_over_and_comes_back():
    bench = Bench()
    out = sound(bench.send(packets.echo("fd00::2", bench.far(), DATA, ident=7, seq=3))[0])
    assert (out[ICMP].type, out[ICMP].id, out[ICMP].seq) == (8, 7, 3)
    back = sound(bench.receive(packets.echo(HOST, SOURCE, DATA, reply=True, ident=7, seq=3))[0])
    assert (back[ICMPv6EchoReply].id, back[ICMPv6EchoReply].seq) == (7, 3)
    assert bytes(back[ICMPv6EchoReply].data) == DATA


@pytest.mark.parametrize("make", [packets.super_tcp, packets.super_udp])
def test_super_packets_stay_whole_both_ways(make):
    bench = Bench()
    bench.connect()
    payload = bytes(range(256)) * 230
    for _ in range(3):
        packet = make("fd00::2", bench.far(), payload, 1200, dport=80)
        bench.pipeline.ingress(bench.a, [Packet(packet.frame)], bench.now)
        (moved,) = bench.pipeline.to_tun
        assert moved.segments == packet.segments
        pieces = [sound(data) for data in bench.tun()]
        assert b"".join(bytes(piece.lastlayer()) for piece in pieces) == payload
        back = make(HOST, SOURCE, payload, 1200, sport=80, dport=40000)
        bench.pipeline.egress([Packet(back.frame)], bench.now)
        (moved,) = bench.a.queue.pull(10**9, bench.now)
        assert moved.version == 6
        assert moved.segments == back.segments


def test_fast_path_and_slow_path_say_the_same():
    fast, slow = Bench(), Bench()

    def forget():
        for table in slow.stage.state.tables.values():
            for raw in table.by4.values():
                Session(raw).ready = False

    for bench in (fast, slow):
        bench.connect()
    for size in (0, 1, 2, 99, 1180):
        payload = bytes(range(7, 7 + 200)) * 6
        out = packets.tcp("fd00::2", fast.far(), payload[:size], dport=80, ip={"tos": 0x2E, "ttl": 9})
        back = packets.tcp(HOST, SOURCE, payload[:size], sport=80, dport=40000, ip={"tos": 0x51, "ttl": 7})
        assert fast.send(out) == slow.send(out)
        assert fast.receive(back) == slow.receive(back)
        forget()
    (raw,) = fast.stage.state.tables[6].by4.values()
    assert Session(raw).ready
    assert len(fast.stage.nat64.fast_to_v4.by_protocol[6]) == len(fast.stage.nat64.fast_to_v6.by_protocol[6]) == 1
    assert slow.stage.nat64.fast_to_v4.by_protocol[6] == {}


def test_the_fast_path_keeps_a_session_alive():
    bench = Bench(udp_timeout=120)
    for _ in range(6):
        bench.send(packets.udp("fd00::2", bench.far(), DATA))
        bench.wait(100)
    assert bench.stage.state.count_sessions() == 1
    for _ in range(6):
        bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000))
        bench.wait(100)
    assert bench.stage.state.count_sessions() == 1
    bench.wait(22)
    assert bench.stage.state.count_sessions() == 0


def test_s5_packets_from_outside_need_not_keep_it_alive():
    bench = Bench(udp_timeout=120, inbound_refresh=False)
    for _ in range(3):
        bench.send(packets.udp("fd00::2", bench.far(), DATA))
        bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000))
    bench.wait(100)
    bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000))
    bench.wait(22)
    assert bench.stage.state.count_sessions() == 0


def test_fin_and_reset_are_seen_though_data_goes_fast():
    bench = Bench()
    bench.connect()
    for _ in range(3):
        bench.send(packets.tcp("fd00::2", bench.far(), DATA, dport=80))
    bench.send(packets.tcp("fd00::2", bench.far(), DATA, dport=80, flags=FIN | ACK))
    bench.receive(packets.tcp(HOST, SOURCE, sport=80, dport=40000, flags=FIN | ACK))
    bench.wait(242)
    assert bench.stage.state.count_sessions() == 0
    bench.connect()
    bench.receive(packets.tcp(HOST, SOURCE, sport=80, dport=40000, flags=RST))
    bench.wait(242)
    assert bench.stage.state.count_sessions() == 0


def test_a_udp_checksum_that_becomes_zero_leaves_as_ffff():
    bench = Bench(static=[{"protocol": "udp", "port": 40000, "to": "[fd00::2]:12345"}], prefix="64:ff9b::/96")
    data = bytearray(packets.udp("8.8.8.8", "10.0.0.254", bytes.fromhex("c259"), sport=53, dport=40000))
    assert data[26:28] == bytes.fromhex("85fd")
    for _ in range(3):
        (back,) = bench.receive(bytes(data))
        assert back[46:48] == b"\xff\xff"
        sound(back)


def test_f4_udp_without_checksum_is_given_one():
    bench = Bench()
    bench.send(packets.udp("fd00::2", bench.far(), DATA))
    data = bytearray(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000))
    data[26:28] = b"\0\0"
    for _ in range(3):
        sound(bench.receive(bytes(data))[0])


def test_a_wrong_checksum_comes_out_wrong():
    bench = Bench()
    for _ in range(3):
        data = bytearray(packets.udp("fd00::2", bench.far(), DATA))
        data[-1] ^= 1
        (out,) = bench.send(bytes(data))
        again = IP(out)
        del again[UDP].chksum
        assert bytes(again) != out


def test_a2_a_suffix_behind_the_ipv4_address_is_ignored():
    bench = Bench(prefix="2001:db8:122::/48")
    far = "2001:db8:122:c000:2:900:1234:5678"
    for _ in range(3):
        assert IP(bench.send(packets.udp("fd00::2", far, DATA))[0]).dst == HOST
    assert bench.stage.state.count_sessions() == 1


def test_tos_is_copied_or_set():
    for table, expected in (({}, 0xB8), ({"tos": 0}, 0)):
        bench = Bench(**table)
        for _ in range(3):
            out = IP(bench.send(packets.udp("fd00::2", bench.far(), DATA, ip={"tos": 0xB8}))[0])
            assert out.tos == expected


def test_a4_private_addresses_are_dropped_behind_the_well_known_prefix_and_told_once():
    bench = Bench(prefix="64:ff9b::/96")
    for _ in range(3):
        assert bench.send(packets.udp("fd00::2", "64:ff9b::10.1.2.3")) == []
    assert bench.dropped() == {"nat64.private_address": 3}
    (event,) = bench.ctx.events
    assert event.destination == "64:ff9b::a01:203"
    assert "allow_private" in event.remedy
    assert len(Bench(prefix="64:ff9b::/96", allow_private=True).send(packets.udp("fd00::2", "64:ff9b::10.1.2.3"))) == 1
    assert len(Bench().send(packets.udp("fd00::2", "64:ff9b:1::10.1.2.3"))) == 1


def test_a4_private_addresses_are_dropped_from_outside_too():
    table = {"static": [{"protocol": "udp", "port": 5353, "to": "[fd00::2]:53"}]}
    ask = packets.udp("10.1.2.3", SOURCE, DATA, dport=5353)
    bench = Bench(prefix="64:ff9b::/96", **table)
    assert bench.receive(ask) == []
    assert bench.dropped() == {"nat64.private_address": 1}
    assert bench.receive(packets.udp("8.8.8.8", SOURCE, DATA, dport=5353)) != []
    assert Bench(prefix="64:ff9b::/96", allow_private=True, **table).receive(ask) != []
    assert Bench(**table).receive(ask) != []


@pytest.mark.parametrize("address", ["127.0.0.1", "0.1.2.3", "224.0.0.1", "255.255.255.255", "169.254.1.1"])
def test_a4_some_addresses_are_never_translated(address):
    bench = Bench(allow_private=True)
    assert bench.send(packets.udp("fd00::2", bench.far(address))) == []
    assert bench.dropped() == {"nat64.address": 1}


def test_s5_a_packet_that_is_dropped_for_its_ip_header_makes_and_refreshes_nothing():
    bench = Bench(static=[{"protocol": "udp", "port": 5353, "to": "[fd00::2]:53"}])
    broken = bytearray(packets.udp(HOST, SOURCE, DATA, dport=5353))
    broken[8] ^= 1
    routed = bytes(IP(src=HOST, dst=SOURCE, options=IPOption_LSRR(routers=["192.0.2.1"])) / UDP(dport=5353))
    assert bench.receive(bytes(broken), routed) == []
    assert bench.dropped() == {"nat64.ipv4_checksum": 1, "nat64.source_route": 1}
    assert bench.stage.state.count_sessions() == 0


def test_a6_own_addresses_from_outside_are_spoofed():
    bench = Bench()
    bench.send(packets.udp("fd00::2", bench.far(), DATA))
    assert bench.receive(packets.udp(SOURCE, SOURCE, DATA, dport=40000)) == []
    assert bench.dropped() == {"nat64.own_source": 1}


def test_a7_what_is_not_for_the_prefix_or_the_source_passes_untouched():
    bench = Bench()
    other = packets.udp("fd00::2", "2001:db8::1", DATA)
    assert bench.send(other) == [other]
    back = packets.udp("2001:db8::1", "fd00::2", DATA)
    assert bench.receive(back) == [back]


def test_unspoken_addresses_of_other_hosts_get_their_own_sessions():
    bench = Bench()
    for host in (HOST, OTHER):
        assert IP(bench.send(packets.udp("fd00::2", bench.far(host), DATA))[0]).dst == host
    assert bench.stage.state.count_sessions() == 2
    assert bench.stage.state.count_bindings() == 1
    assert IPv6(bench.receive(packets.udp(OTHER, SOURCE, DATA, sport=53, dport=40000))[0]).src.endswith("c633:6407")
