"""Source check, routing by longest prefix, isolation, and what never crosses the tunnel."""

from ipaddress import ip_address, ip_network

import pytest
from pipeline_bench import FakeSession

from vpnrs_core.counters import DropCounts
from vpnrs_core.packet.packet import Packet
from vpnrs_core.pipeline.pipeline import Pipeline
from vpnrs_core.testkit.packets import echo, super_tcp, tcp, udp

FAR = {4: "198.51.100.7", 6: "2001:db8::7"}
A = {4: "10.0.0.2", 6: "fd00::2"}
B = {4: "10.0.0.3", 6: "fd00::3"}
SERVER = {4: "10.0.0.1", 6: "fd00::1"}
FREE = {4: "10.0.0.77", 6: "fd00::77"}
families = pytest.mark.parametrize("family", [4, 6])


@families
def test_spoofed_source_is_dropped(make_bench, family):
    bench = make_bench()
    for source in (B[family], SERVER[family], FAR[family], FREE[family]):
        bench.pipeline.ingress(bench.a, [Packet.of(udp(source, FAR[family], b"x"))], 0.0)
    bench.pipeline.ingress(bench.a, [super_tcp(B[family], FAR[family], bytes(3000), 1000)], 0.0)
    assert bench.tun() == []
    assert bench.drops.nonzero() == {"source": 7}
    assert bench.a.counters.ingress_packets == 0
    bench.pipeline.ingress(bench.a, [Packet.of(udp(A[family], FAR[family], b"x"))], 0.0)
    assert bench.tun() == [udp(A[family], FAR[family], b"x")]


def test_a_sessions_further_prefix_is_a_source_and_a_route(make_bench):
    bench = make_bench(prefixes=[ip_network("192.168.5.0/24"), ip_network("fd05::/48")])
    ours = [udp("192.168.5.9", FAR[4], b"x"), udp("fd05::9", FAR[6], b"x")]
    bench.pipeline.ingress(bench.a, [Packet.of(data) for data in ours], 0.0)
    assert bench.tun() == ours
    back = udp(FAR[4], "192.168.5.9", b"x")
    bench.pipeline.egress([Packet.of(back)], 0.0)
    assert bench.queued(bench.a) == [back]


@families
def test_isolated_clients_do_not_reach_each_other(make_bench, family):
    bench = make_bench()
    for target in (B[family], FREE[family]):
        bench.pipeline.ingress(bench.a, [Packet.of(tcp(A[family], target))], 0.0)
    assert bench.tun() == []
    assert bench.drops.nonzero() == {"isolation": 2}


@families
def test_isolated_clients_reach_the_server_and_the_world(make_bench, family):
    bench = make_bench()
    packets = [echo(A[family], SERVER[family]), echo(A[family], FAR[family])]
    bench.pipeline.ingress(bench.a, [Packet.of(data) for data in packets], 0.0)
    assert bench.tun() == packets


def test_isolation_covers_networks_behind_other_clients(make_bench):
    bench = make_bench(prefixes=[ip_network("192.168.5.0/24")])
    bench.pipeline.ingress(bench.b, [Packet.of(udp(B[4], "192.168.5.9", b"x"))], 0.0)
    assert bench.drops.nonzero() == {"isolation": 1}


@families
def test_without_isolation_the_kernel_routes_between_clients(make_bench, family):
    bench = make_bench(isolation=False)
    packet = tcp(A[family], B[family])
    bench.pipeline.ingress(bench.a, [Packet.of(packet)], 0.0)
    assert bench.tun() == [packet]
    bench.pipeline.egress([Packet.of(packet)], 0.0)
    assert bench.queued(bench.b) == [packet]


def test_the_longest_prefix_routes(make_bench):
    bench = make_bench(prefixes=[ip_network("192.168.0.0/16")])
    narrow = FakeSession("c", [ip_address("10.0.0.4")])
    c = bench.pipeline.open(narrow, prefixes=[ip_network("192.168.5.0/24")], mtu=1400)
    wide, inner = udp(FAR[4], "192.168.6.1", b"wide"), udp(FAR[4], "192.168.5.1", b"inner")
    bench.pipeline.egress([Packet.of(wide), Packet.of(inner)], 0.0)
    assert (bench.queued(bench.a), bench.queued(c)) == ([wide], [inner])
    assert bench.pipeline.route(ip_address("192.168.5.1")) is narrow
    bench.pipeline.close(c, "bye")
    bench.pipeline.egress([Packet.of(inner)], 0.0)
    assert bench.queued(bench.a) == [inner]


def test_the_same_prefix_goes_to_the_latest_and_back(make_bench):
    bench = make_bench(prefixes=[ip_network("192.168.5.0/24")])
    c = bench.pipeline.open(
        FakeSession("c", [ip_address("10.0.0.4")]), prefixes=[ip_network("192.168.5.0/24")], mtu=1400
    )
    assert bench.pipeline.route(ip_address("192.168.5.1")).id == "c"
    bench.pipeline.close(c, "bye")
    assert bench.pipeline.route(ip_address("192.168.5.1")).id == "a"


def test_changed_leases_change_source_check_and_routes(make_bench):
    bench = make_bench()
    bench.a.session.leases = [ip_address("10.0.0.9")]
    bench.pipeline.change(bench.a, mtu=1400)
    bench.pipeline.ingress(bench.a, [Packet.of(udp(A[4], FAR[4])), Packet.of(udp("10.0.0.9", FAR[4]))], 0.0)
    assert bench.tun() == [udp("10.0.0.9", FAR[4])]
    assert bench.pipeline.route(ip_address(A[4])) is None
    assert bench.pipeline.route(ip_address("10.0.0.9")) is bench.a.session


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        ("fe80::1", "ff02::2", "multicast"),
        ("fe80::1", "fd00::2", "link_local"),
        ("fd00::1", "fe80::2", "link_local"),
        ("10.0.0.1", "224.0.0.251", "multicast"),
        ("10.0.0.1", "255.255.255.255", "multicast"),
        ("169.254.3.4", "10.0.0.2", "link_local"),
    ],
)
def test_what_is_confined_to_a_link_stays_there(make_bench, source, destination, reason):
    bench = make_bench()
    bench.pipeline.egress([Packet.of(udp(source, destination))], 0.0)
    assert bench.drops.nonzero() == {reason: 1}
    bench.pipeline.ingress(bench.a, [Packet.of(udp("fd00::2", "ff02::fb"))], 0.0)
    bench.pipeline.ingress(bench.a, [Packet.of(udp("fe80::2", "ff02::fb"))], 0.0)
    assert bench.drops.total() == 3
    assert bench.drops.packets["source"] == 0


@pytest.mark.parametrize("frame", [b"", bytes(9), bytes(10), bytes(40), bytes(10) + b"\x45" + bytes(40)])
def test_malformed_packets_are_counted(make_bench, frame):
    bench = make_bench()
    bench.pipeline.ingress(bench.a, [Packet(frame)], 0.0)
    bench.pipeline.egress([Packet(frame)], 0.0)
    assert bench.drops.nonzero() == {"malformed": 2}


@families
def test_no_route_is_answered_with_unreachable_within_a_rate(make_bench, family):
    bench = make_bench()
    bench.pipeline.egress([Packet.of(udp(FAR[family], FREE[family], b"x")) for _ in range(500)], 0.0)
    answers = bench.tun()
    assert bench.drops.nonzero() == {"no_route": 500}
    assert len(answers) == 50
    first = Packet.of(answers[0])
    assert (first.dst, first.protocol) == (ip_address(FAR[family]).packed, 1 if family == 4 else 58)
    bench.pipeline.egress([Packet.of(udp(FAR[family], FREE[family], b"x")) for _ in range(500)], 0.1)
    assert len(bench.tun()) == 10


@pytest.fixture
def client():
    drops = DropCounts()
    pipeline = Pipeline("client", [], drops, lambda *failure: None)
    session = FakeSession("me", [ip_address(A[4]), ip_address(A[6])])
    peer = pipeline.open(session, prefixes=[ip_network("198.51.100.0/24"), ip_network("2001:db8::/32")], mtu=1400)
    return pipeline, peer, drops


@families
def test_a_client_sends_everything_to_its_peer(client, family):
    pipeline, peer, _ = client
    pipeline.egress([Packet.of(udp(A[family], "203.0.113.9" if family == 4 else "fc00::1", b"x"))], 0.0)
    assert peer.queue.packets == 1
    assert pipeline.ready == {peer}


@families
def test_a_client_takes_only_what_is_for_it(client, family):
    pipeline, peer, drops = client
    mine, routed = udp(FAR[family], A[family], b"x"), udp(B[family], FAR[family], b"x")
    strange = udp(FAR[family], "192.168.1.1" if family == 4 else "fc00::1", b"x")
    own_source = udp(A[family], A[family], b"x")
    pipeline.ingress(peer, [Packet.of(data) for data in (mine, routed, strange, own_source)], 0.0)
    assert [packet.data for packet in pipeline.to_tun] == [mine, routed]
    assert drops.nonzero() == {"not_ours": 1, "source": 1}


def test_a_client_without_session_drops_silently(client):
    pipeline, peer, drops = client
    pipeline.close(peer, "bye")
    pipeline.egress([Packet.of(udp(A[4], FAR[4], b"x"))], 0.0)
    assert pipeline.to_tun == []
    assert drops.nonzero() == {"no_route": 1}


def test_closing_counts_what_waited_and_keeps_the_totals(make_bench):
    bench = make_bench()
    bench.pipeline.ingress(bench.a, [super_tcp(A[4], FAR[4], bytes(3000), 1000)], 0.0)
    bench.pipeline.egress([Packet.of(udp(FAR[4], A[4], b"sent"))], 0.0)
    bench.queued(bench.a)
    bench.pipeline.egress([Packet.of(udp(FAR[4], A[4], b"waits"))], 0.0)
    bench.pipeline.close(bench.a, "bye")
    bench.pipeline.close(bench.a, "again")
    assert bench.drops.nonzero() == {"session_closed": 1}
    assert bench.pipeline.ready == set()
    assert bench.pipeline.traffic().as_dict() == {
        "ingress_packets": 3,
        "ingress_bytes": 3000 + 3 * 40,
        "egress_packets": 1,
        "egress_bytes": 32,
    }
    bench.pipeline.ingress(bench.a, [Packet.of(udp(A[4], FAR[4], b"late"))], 0.0)
    assert bench.drops.nonzero() == {"session_closed": 2}


def test_two_sessions_of_one_id_are_refused(make_bench):
    bench = make_bench()
    with pytest.raises(ValueError, match="is open"):
        bench.pipeline.open(FakeSession("a", []), mtu=1400)
