"""ICMP errors through the stage: translated both ways, made by the translator itself, limited, and never answered."""

from nat64_bench import ACK, HOST, OTHER, SOURCE, SYN, Bench, sound
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, TCPerror, UDPerror
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPerror6, IPv6
from vpnrs_nat64.state.records import Session

from vpnrs_core.packet.icmp import packet_too_big
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.vnet import NEEDS_CSUM, VNET
from vpnrs_core.testkit import packets

DATA = bytes(range(100))
ROUTER = "203.0.113.1"


def about(sent, **fields):
    """An ICMP error of a router about a packet that left."""
    return bytes(IP(src=ROUTER, dst=SOURCE, ttl=60) / ICMP(**fields) / sent)


def test_e6_a_hop_on_the_way_shows_itself_to_traceroute():
    bench = Bench()
    (sent,) = bench.send(packets.udp("fd00::2", bench.far(), DATA, sport=50000, dport=33434, ip={"ttl": 3}))
    (back,) = bench.receive(about(sent, type=11, code=0))
    got = sound(back)
    assert got.src == bench.prefix + "cb00:7101"
    assert got[ICMPv6TimeExceeded].code == 0
    assert got[IPerror6].dst == bench.prefix + "c000:209"
    assert (got[UDPerror].sport, got[UDPerror].dport) == (50000, 33434)


def test_the_first_hop_is_the_translator_itself():
    bench = Bench()
    for make in (packets.udp, packets.tcp):
        assert bench.send(make("fd00::2", bench.far(), DATA, ip={"ttl": 1})) == []
        (back,) = bench.queued()
        got = sound(back)
        assert got.src == bench.prefix + "a00:fe"
        assert ICMPv6TimeExceeded in got
    assert bench.stage.state.count_sessions() == 0
    assert bench.dropped() == {"nat64.hop_limit": 2}
    bench.send(packets.udp("fd00::2", bench.far(), DATA))
    bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000, ip={"ttl": 1}))
    (out,) = bench.tun()
    assert (IP(out).src, IP(out).dst, IP(out)[ICMP].type) == (SOURCE, HOST, 11)


def test_m1_fragmentation_needed_becomes_packet_too_big():
    bench = Bench()
    bench.connect()
    (sent,) = bench.send(packets.tcp("fd00::2", bench.far(), bytes(1200), dport=80))
    for mtu, told in ((1300, 1280), (576, 1280)):
        (back,) = bench.receive(about(sent, type=3, code=4, nexthopmtu=mtu))
        assert sound(back)[ICMPv6PacketTooBig].mtu == told
    wide = Bench(mtu=1500)
    wide.connect()
    (sent,) = wide.send(packets.tcp("fd00::2", wide.far(), bytes(1400), dport=80))
    (back,) = wide.receive(about(sent, type=3, code=4, nexthopmtu=1400))
    assert sound(back)[ICMPv6PacketTooBig].mtu == 1420


def test_e2_errors_about_nobodys_packets_are_dropped_in_silence_and_change_nothing():
    bench = Bench()
    (sent,) = bench.send(packets.udp("fd00::2", bench.far(), DATA))
    session = Session(*bench.stage.state.tables[17].by4.values())
    deadline = session.deadline
    bench.now += 5
    other = IP(sent)
    other[UDP].sport = 40001
    assert bench.receive(about(bytes(other), type=3, code=3)) == []
    assert bench.tun() == []
    assert bench.receive(about(sent, type=3, code=3)) != []
    assert session.deadline == deadline
    assert bench.dropped() == {"nat64.error_without_session": 1}


def test_a_clients_own_errors_reach_the_host_with_our_address():
    bench = Bench()
    bench.send(packets.udp("fd00::2", bench.far(), DATA))
    (arrived,) = bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000))
    error = IPv6(src="fd00::2", dst=bench.far(HOST)) / ICMPv6DestUnreach(code=4) / arrived
    (out,) = bench.send(bytes(error))
    got = sound(out)
    assert (got.src, got.dst, got[ICMP].type, got[ICMP].code) == (SOURCE, HOST, 3, 3)
    assert (got[IPerror].src, got[IPerror].dst, got[UDPerror].dport) == (HOST, SOURCE, 40000)
    assert bench.send(bytes(error), peer=bench.b) == []  # not b's packet, and b's source check says so
    assert bench.dropped() == {"source": 1}


def test_an_error_about_another_clients_packet_is_dropped():
    bench = Bench()
    bench.send(packets.udp("fd00::2", bench.far(), DATA))
    (arrived,) = bench.receive(packets.udp(HOST, SOURCE, DATA, sport=53, dport=40000))
    error = IPv6(src="fd00::3", dst=bench.far(HOST)) / ICMPv6DestUnreach(code=4) / arrived
    assert bench.send(bytes(error), peer=bench.b) == []
    assert bench.dropped() == {"nat64.error_without_session": 1}


def test_what_the_core_finds_too_big_for_a_link_is_told_the_host_in_its_own_terms():
    bench = Bench()
    bench.connect()
    (arrived,) = bench.receive(packets.tcp(HOST, SOURCE, bytes(1200), sport=80, dport=40000))
    packet = Packet.of(arrived)
    bench.pipeline.icmp(bench.a, packet_too_big(packet, 1280, packet.dst), bench.now)
    (out,) = bench.tun()
    got = sound(out)
    assert (got.src, got.dst, got[ICMP].type, got[ICMP].code) == (SOURCE, HOST, 3, 4)
    assert got[ICMP].nexthopmtu == 1260
    assert got[TCPerror].dport == 40000


def test_m3_each_clients_own_mtu_counts():
    bench = Bench(mtu=1400)
    c = bench.join("c", "fd00::4", 1280)
    bench.send(packets.udp("fd00::2", bench.far(), DATA, sport=40002))
    bench.send(packets.udp("fd00::4", bench.far(), DATA, sport=40004), peer=c)
    for port, peer, mtu in ((40002, bench.a, 1400), (40004, c, 1280)):
        for _ in range(3):
            fits = packets.udp(HOST, SOURCE, bytes(mtu - 48), sport=53, dport=port)
            assert len(bench.receive(fits, peer=peer)[0]) == mtu
            over = packets.udp(HOST, SOURCE, bytes(mtu - 47), sport=53, dport=port)
            assert bench.receive(over, peer=peer) == []
            (out,) = bench.tun()
            assert IP(out)[ICMP].nexthopmtu == mtu - 20
            bench.wait(1)


def test_m3_a_changed_mtu_holds_for_sessions_that_were_prepared_for_the_old_one():
    bench = Bench(mtu=1400)
    for _ in range(3):
        bench.send(packets.udp("fd00::2", bench.far(), DATA))
        assert bench.receive(packets.udp(HOST, SOURCE, bytes(1352), sport=53, dport=40000)) != []
    bench.a.session.mtu = 1300
    bench.pipeline.change(bench.a, mtu=1300)
    assert bench.receive(packets.udp(HOST, SOURCE, bytes(1352), sport=53, dport=40000)) == []
    assert IP(bench.tun()[0])[ICMP].nexthopmtu == 1280


def test_m6_super_packets_are_judged_by_their_segments():
    bench = Bench()
    bench.connect()
    for size, passes in ((1220, True), (1221, False)):
        back = packets.super_tcp(HOST, SOURCE, bytes(30_000), size, sport=80, dport=40000)
        for _ in range(3):
            got = bench.receive(Packet(back.frame))
            assert (sum(len(each) - 60 for each in got) == 30_000) is passes
            assert (bench.tun() == []) is passes


def test_s4_closed_udp_ports_answer_and_nothing_else_does():
    bench = Bench()
    bench.receive(packets.udp(HOST, SOURCE, DATA, dport=40000))
    (out,) = bench.tun()
    assert (IP(out).src, IP(out).dst, IP(out)[ICMP].type, IP(out)[ICMP].code) == (SOURCE, HOST, 3, 3)
    bench.receive(packets.tcp(HOST, SOURCE, flags=ACK), packets.echo(HOST, SOURCE))
    assert bench.tun() == []
    assert bench.dropped() == {"nat64.no_binding": 3}


def test_s6_other_protocols_are_refused_both_ways():
    bench = Bench()
    assert bench.send(packets.ip_packet("fd00::2", bench.far(), 132, bytes(20))) == []
    got = sound(bench.queued()[0])
    assert got[ICMPv6DestUnreach].code == 4
    bench.receive(packets.ip_packet(HOST, SOURCE, 132, bytes(20)))
    assert IP(bench.tun()[0])[ICMP].code == 2
    assert bench.dropped() == {"nat64.protocol": 2}


def test_s3_exhaustion_is_told_to_the_client_and_once_a_minute_to_the_operator():
    bench = Bench(port_range=[40000, 40001])
    for n in range(5):
        bench.send(packets.udp("fd00::2", bench.far(), DATA, sport=40000 + n))
    assert [sound(data)[ICMPv6DestUnreach].code for data in bench.queued()] == [3, 3, 3]
    assert bench.dropped() == {"nat64.no_port": 3}
    (event,) = bench.ctx.events
    assert (event.session, event.principal, event.limit) == ("a", "principal of a", "no_port")
    bench.wait(61)
    bench.send(packets.udp("fd00::2", bench.far(), DATA, sport=40009))
    assert len(bench.ctx.events) == 2


def test_e7_errors_of_our_own_are_limited_and_may_be_off():
    for rate, expected in ((3, 3), (0, 0)):
        bench = Bench(icmp_errors_per_second=rate)
        for _ in range(10):
            bench.send(packets.udp("fd00::2", bench.far(), DATA, ip={"ttl": 1}))
        assert len(bench.queued()) == expected
        bench.now += 1
        bench.send(packets.udp("fd00::2", bench.far(), DATA, ip={"ttl": 1}))
        assert len(bench.queued()) == min(rate, 1)
        counted = {s.labels["outcome"]: s.value for s in bench.ctx.registry.samples() if "outcome" in s.labels}
        assert counted.get("sent", 0) + counted["suppressed"] == 11


def test_e7_nobody_uses_up_the_errors_of_another():
    bench = Bench(icmp_errors_per_second=3)
    bench.connect()
    for _ in range(10):
        bench.send(packets.udp("fd00::3", bench.far(), DATA, ip={"ttl": 1}), peer=bench.b)
    assert len(bench.queued(bench.b)) == 3
    for port in range(2000, 2010):
        bench.receive(packets.udp(OTHER, SOURCE, DATA, dport=port))
    assert len(bench.tun()) == 3
    bench.send(packets.udp("fd00::2", bench.far(), DATA, ip={"ttl": 1}))
    assert len(bench.queued()) == 1
    bench.receive(packets.tcp(HOST, SOURCE, bytes(1400), sport=80, dport=40000, flags=ACK))
    assert IP(bench.tun()[0])[ICMP].nexthopmtu == 1260


def test_e7_an_error_never_answers_an_error():
    bench = Bench()
    (sent,) = bench.send(packets.udp("fd00::2", bench.far(), DATA))
    inner = IP(src=ROUTER, dst=SOURCE, ttl=1) / ICMP(type=3, code=1) / sent
    assert bench.receive(bytes(inner)) == []
    assert bench.tun() == []


def test_a6_e7_sources_that_nobody_has_are_not_answered():
    bench = Bench()
    for source in ("0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"):
        bench.receive(packets.ip_packet(source, SOURCE, 132, bytes(8)))
        bench.receive(packets.udp(source, SOURCE, DATA, ip={"ttl": 1}))
        bench.receive(packets.udp(source, SOURCE, DATA, dport=7))
        assert bench.tun() == []
    bench.receive(packets.ip_packet(OTHER, SOURCE, 132, bytes(8)))
    assert len(bench.tun()) == 1
    for source in ("::1", "ff02::1", "fe80::1", bench.far(HOST)):
        for data in (
            packets.ip_packet(source, bench.far(), 132, bytes(8)),
            packets.udp(source, bench.far(), ip={"ttl": 1}),
        ):
            packet = Packet.of(data, bench.a.session)
            assert bench.stage.nat64.from_client(packet, bench.now).answer is None


def test_a_checksum_position_inside_of_the_headers_costs_that_packet_only():
    bench = Bench()
    data = packets.udp("fd00::2", bench.far(), DATA)
    for start in range(40, 50):
        for offset in (0, 2, 6):
            bench.send(data, Packet.of(data, vnet=VNET.pack(NEEDS_CSUM, 0, 0, 0, start, offset)), data)
    assert bench.failures == []
    assert "stage_error" not in bench.dropped()


def test_a_stored_syn_is_answered_after_six_seconds_or_by_the_clients_own():
    bench = Bench()
    syn = packets.tcp(OTHER, SOURCE, sport=999, dport=40000, flags=SYN)
    assert bench.receive(syn) == []
    assert bench.pipeline._tun_stages[0].out.held_bytes == len(syn)
    assert bench.wait(5.9) == []
    (out,) = bench.wait(1.2)
    assert (IP(out).src, IP(out).dst, IP(out)[ICMP].code, IP(out)[TCPerror].sport) == (SOURCE, OTHER, 3, 999)
    assert bench.dropped() == {"nat64.unanswered_syn": 1}
    bench.receive(syn)
    first = bench.send(packets.tcp("fd00::2", bench.far(OTHER), sport=40000, dport=999, flags=SYN))
    assert IP(first[0])[TCP].flags == "S"
    assert bench.wait(10) == []
    assert bench.dropped() == {"nat64.unanswered_syn": 1, "nat64.crossed_syn": 1}
    assert bench.pipeline._tun_stages[0].out.held_bytes == 0


def test_a_kept_syn_is_let_go_when_the_next_one_finds_a_binding_and_does_not_fit():
    bench = Bench()
    bench.receive(packets.tcp(OTHER, SOURCE, sport=999, dport=40000, flags=SYN))
    bench.send(packets.tcp("fd00::2", bench.far(), sport=40000, dport=80, flags=SYN))
    bench.receive(packets.tcp(OTHER, SOURCE, bytes(1400), sport=999, dport=40000, flags=SYN))
    assert bench.dropped() == {"nat64.crossed_syn": 1, "nat64.too_big": 1}
    assert bench.pipeline._tun_stages[0].out.held_bytes == 0


def test_a_syn_with_data_is_not_kept_and_takes_no_room_of_fragments():
    bench = Bench()
    assert bench.receive(packets.tcp(OTHER, SOURCE, bytes(1200), sport=999, dport=40000, flags=SYN)) == []
    assert bench.dropped() == {"nat64.no_binding": 1}
    assert bench.pipeline._tun_stages[0].out.held_bytes == 0
    assert bench.wait(10) == []


def test_a_silent_connection_is_probed():
    bench = Bench()
    bench.connect()
    bench.wait(7201.5)
    (asked,) = bench.queued()
    got = sound(asked)
    assert (got.dst, got[TCP].sport, got[TCP].dport) == ("fd00::2", 80, 40000)
    assert (got[TCP].flags, got[TCP].seq, got[TCP].ack, len(got[TCP].payload)) == ("A", 0, 0, 0)
    bench.send(packets.tcp("fd00::2", bench.far(), dport=80))
    bench.wait(300)
    assert bench.stage.state.count_sessions() == 1
    bench.wait(7300)
    assert bench.stage.state.count_sessions() == 0
