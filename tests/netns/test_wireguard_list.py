"""What WireGuard's own namespace test promises, restated for vpnrs, where no other test has it: docs/host.md has all.

client ── server            with two ways between them where a test says so
"""

import signal
import time

import pytest

from tests.netns.ends import ENDS, end, ends, ends_in_every_way
from vpnrs_core.testkit.capture import Capture
from vpnrs_core.testkit.instance import RunningInstance, run_here
from vpnrs_core.testkit.packets import udp
from vpnrs_core.testkit.traffic import content, ping, tcp_transfer
from vpnrs_core.testkit.tunnel import BEHIND4, SERVER4, SERVER6, endpoint

EVERYTHING = ["0.0.0.0/0", "::/0"]
SERVERS = {4: SERVER4, 6: SERVER6}
HEADERS = {4: 28, 6: 48}  # IP and ICMP echo, bytes


def counters(net):
    """(packets, bytes) that the client has sent, it has received, the server has received, the server has sent; once
    nothing is under way any more."""
    deadline = time.monotonic() + 10
    seen = []
    while not seen or seen[-1] != _counters(net):
        assert time.monotonic() < deadline, seen
        seen.append(_counters(net))
        time.sleep(0.05)
    return seen[-1]


def _counters(net):
    mine = net.client.status()["client"]["session"]
    (theirs,) = (s for s in net.server.status()["server"]["sessions"] if s["id"] == mine["id"])
    pairs = (mine["egress"], mine["ingress"], theirs["ingress"], theirs["egress"])
    return [(pair["packets"], pair["bytes"]) for pair in pairs]


def grown(net, before):
    return [(now[0] - then[0], now[1] - then[1]) for now, then in zip(counters(net), before, strict=True)]


@pytest.mark.parametrize("underlay", [4, 6])
def test_every_packet_is_counted_once_at_both_ends_and_a_spoofed_one_as_a_drop(tunnel, underlay):
    """Both families inside, both outside; strict rp_filter, and neither a rule nor a mark, with a full tunnel."""
    net = tunnel(underlay=underlay)
    ns = net.client_ns[0]
    ns.run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1")
    net.client.configure({"routes": EVERYTHING})
    rules = ns.run("ip", "rule").stdout + ns.run("ip", "-6", "rule").stdout
    net.up()
    assert ns.run("ip", "rule").stdout + ns.run("ip", "-6", "rule").stdout == rules
    own, drops = net.addresses(), net.server.status()["drops"]
    for version, address in SERVERS.items():
        for size in (0, 56, 1280 - HEADERS[version]):
            before = counters(net)
            ping(ns, address, count=5, size=size)
            ping(net.server_ns, own[version], count=3, size=size)
            assert grown(net, before) == [(8, 8 * (size + HEADERS[version]))] * 4
        before = counters(net)
        tcp_transfer(ns, net.server_ns, address, content(400_000), content(300_000))
        sent, received, there, back = grown(net, before)
        assert (sent, received) == (there, back)
        assert sent[1] > 400_000
        assert received[1] > 300_000
    assert net.server.status()["drops"] == drops
    a_spoofed_packet_counts_as_a_drop_and_as_nothing_else(net)
    ends_in_every_way(net)


def a_spoofed_packet_counts_as_a_drop_and_as_nothing_else(net):
    with (
        Capture(net.client_ns[0], "vpnrs0") as there,
        Capture(net.server_ns, "vpnrs0") as here,
    ):
        before = counters(net)
        sources = ((4, "10.77.0.99"), (6, "fd77::99"), (4, SERVER4), (6, SERVER6))
        forged = [udp(source, SERVERS[version], b"forged", dport=9) for version, source in sources] * 5
        last = udp(net.addresses()[4], SERVER4, b"at last", dport=9)
        there.inject(*forged, last)
        seen = here.wait_for(b"at last")
    assert not [data for data in seen if b"forged" in data]
    assert grown(net, before)[2] == (1, len(last))
    assert net.server.status()["drops"]["source"] == len(forged)


def test_the_underlays_routes_may_change_and_the_pin_follows_each_change_once(tunnel):
    """Another gateway, another source address, another interface, a new MTU: no packet is lost that was sent after."""
    net = tunnel()
    ns = net.client_ns[0]
    net.net.connect(net.server_ns, ns, "10.202.0.0/24", "fd00:202::/64")
    # The server's address is beyond the link: it is reached by a gateway.
    net.net.add_address(net.server_ns, "lo", "10.250.0.1/32")
    for gateway, metric in (("10.200.0.1", "100"), ("10.202.0.1", "200")):
        ns.run("ip", "route", "add", "default", "via", gateway, "metric", metric)
    net.client.configure({"server": endpoint("10.250.0.1"), "routes": EVERYTHING})
    net.up()
    session = net.client.status()["client"]["session"]["id"]

    def pins():
        listed = ns.run("ip", "route", "show", "proto", "157", "10.250.0.1").stdout.splitlines()
        return [" ".join(line.split()[2:5:2]) for line in listed if "unreachable" not in line]

    def follows(way, *command):
        ns.run("ip", *command)
        net.client.wait_for(f"pinned by {way}", lambda _: pins() == [way])
        before = counters(net)
        ping(ns, SERVER4, count=3)
        ping(ns, SERVER6, count=3)
        assert [packets for packets, _ in grown(net, before)] == [6] * 4

    assert pins() == ["10.200.0.1 server"]
    monitor = ns.spawn("ip", "-o", "monitor", "route", stdout=-1, text=True)
    time.sleep(0.3)  # it does not say when it listens
    follows("10.202.0.1 server-2", "route", "add", "default", "via", "10.202.0.1", "metric", "50")
    follows("10.200.0.1 server", "route", "del", "default", "via", "10.202.0.1", "metric", "50")
    follows("10.200.0.1 server", "address", "add", "10.200.0.77/24", "dev", "server")
    follows("10.202.0.1 server-2", "route", "add", "10.250.0.0/24", "via", "10.202.0.1")
    follows("10.200.0.1 server", "route", "del", "10.250.0.0/24", "via", "10.202.0.1")
    follows("10.200.0.1 server", "link", "set", "server", "mtu", "1400")
    monitor.send_signal(signal.SIGTERM)
    told = [line for line in monitor.communicate()[0].splitlines() if line.startswith("10.250.0.1 ")]
    assert len(told) == 4, "added and never flapped: one change of the pin for each change of the way"
    assert net.client.status()["client"]["session"]["id"] == session
    assert net.client.log.count(" connected ") == 1
    for command in (("link", "set", "server", "mtu", "1500"), ("address", "del", "10.200.0.77/24", "dev", "server")):
        ns.run("ip", *command)
    ends_in_every_way(net)


def test_the_tun_may_be_set_down_and_up_and_moved_to_another_namespace(tunnel):
    net = tunnel()
    ns = net.client_ns[0]
    net.client.configure({"routes": EVERYTHING})
    net.up()

    def state():
        commands = ("address show dev vpnrs0", "route show dev vpnrs0", "-6 route show dev vpnrs0")
        return [ns.run("ip", *command.split(), check=False).stdout.splitlines()[1:] for command in commands]

    before, routed = state(), ns.run("ip", "route", "get", "8.8.8.8").stdout
    ns.run("ip", "link", "set", "vpnrs0", "down")
    assert "vpnrs0" not in ns.run("ip", "route", "get", "8.8.8.8", check=False).stdout
    ns.run("ip", "link", "set", "vpnrs0", "up")
    net.client.wait_for("restored", lambda _: sorted(map(len, state())) == sorted(map(len, before)))
    assert ns.run("ip", "route", "get", "8.8.8.8").stdout == routed
    sent = counters(net)
    for address in SERVERS.values():
        ping(ns, address, count=4)
    assert [packets for packets, _ in grown(net, sent)] == [8] * 4

    inner = net.net.namespace("inner")
    own = net.addresses()
    ns.run("ip", "link", "set", "vpnrs0", "netns", inner.name)
    for version, length in ((4, 24), (6, 64)):
        inner.run(
            "ip", "address", "add", f"{own[version]}/{length}", "dev", "vpnrs0", *(["nodad"] if version == 6 else [])
        )
    inner.run("ip", "link", "set", "vpnrs0", "up")
    sent = counters(net)
    for address in SERVERS.values():
        ping(inner, address, count=4)
    assert [packets for packets, _ in grown(net, sent)][:2] == [8, 8]
    net.client.stop()
    assert "vpnrs0" not in inner.run("ip", "link").stdout
    net.client.start()
    net.client.wait_state("connected")
    ends_in_every_way(net)


def second_pair(net):
    """A server on `behind` and a client beside the first one, not started."""
    folder = net.directory / "far"
    where = ("--listen", endpoint(BEHIND4), "--server", endpoint(BEHIND4))
    run_here("init", str(folder), *where, "--instance", "far", "--ipv4", "10.79.0.0/24", "--ipv6", "none")
    server = RunningInstance(net.behind_ns, folder / "server.toml", net.run_dir)
    client = RunningInstance(net.client_ns[0], folder / "client.toml", net.run_dir)
    # Two tunnels around a packet: the inner one's datagrams must fit the outer one.
    narrow = {"quic": {"max_udp_payload": 1240}, "tun": {"mtu": 1190}}
    server.configure(narrow)
    client.configure({**narrow, "routes": ["0.0.0.0/0"], "reconnect": {"min": 0.5, "max": 1}})
    return server, client


def test_a_tunnel_runs_through_another_one(tunnel):
    """client ── server ── behind: the client's second instance reaches its server, on `behind`, by the first tunnel,
    and takes everything else."""
    net = tunnel(behind=True)
    ns = net.client_ns[0]
    net.server.configure({"session": {"routes": ["10.99.0.0/24"]}, "forwarding": {"enable": True}})
    far_server, far_client = second_pair(net)
    net.up()
    far_server.start()
    far_server.wait_state("listening")
    before_it = ns.snapshot()
    for how in ENDS[1:]:
        far_client.start()
        far_client.wait_state("connected")
        end(far_client, how)
        assert before_it.differences(ns.snapshot()) == [], how
    far_client.start()
    far_client.wait_state("connected")
    assert "dev vpnrs1" in ns.run("ip", "route", "get", "8.8.8.8").stdout
    assert "dev vpnrs0" in ns.run("ip", "route", "get", BEHIND4).stdout
    before = counters(net)
    ping(ns, "10.79.0.1", count=5)
    tcp_transfer(ns, net.behind_ns, "10.79.0.1", content(200_000), content(100_000))
    outer = grown(net, before)
    assert outer[0][1] > 200_000
    assert outer[1][1] > 100_000
    # The outer tunnel goes and comes back: the inner one follows it.
    net.client.kill()
    net.client.start()
    net.client.wait_state("connected")
    deadline = time.monotonic() + 20
    while ns.run("ping", "-c1", "-W1", "10.79.0.1", check=False).returncode:
        assert time.monotonic() < deadline, far_client.log
    far_client.kill()
    end(far_server, "stop")
    ends(net, 1)
