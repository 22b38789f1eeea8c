"""Real traffic from an IPv6-only client to an IPv4-only host, through kernels that know nothing of it."""

import json
import shutil
import socket
import time

import pytest

from vpnrs_core.testkit.instance import VPNRS
from vpnrs_core.testkit.traffic import assert_same, content, open_socket, ping, together
from vpnrs_core.testkit.tunnel import BEHIND4

PREFIX, SOURCE = "64:ff9b:1::", "10.88.0.1"
HOST = f"{PREFIX}{BEHIND4}"


def shown(net, what):
    return json.loads(net.vpnrs("nat64", what, "--json", "--instance", "server"))


def connected(net, listener, target=HOST):
    """A connection from the client to a listener of the host → both ends."""
    with net.client_ns[0].entered():
        near = socket.create_connection((target, listener.getsockname()[1]), 15)
    far, peer = listener.accept()
    far.settimeout(15)
    return near, far, peer


def transfer(net, size=2_000_000, target=HOST):
    """Both directions at once, compared → the endpoint that the host saw."""
    there, back = content(size, 1), content(size // 2, 2)
    with open_socket(net.behind_ns, BEHIND4, socket.SOCK_STREAM) as listener:
        listener.listen(1)
        near, far, peer = connected(net, listener, target)
    got = {}

    def send(end, data):
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)

    def take(name, end):
        parts = []
        while part := end.recv(1 << 18):
            parts.append(part)
        got[name] = b"".join(parts)

    with near, far:
        together(
            lambda: send(near, there),
            lambda: send(far, back),
            lambda: take("far", far),
            lambda: take("near", near),
        )
    assert_same(got["far"], there, "to the host")
    assert_same(got["near"], back, "back to the client")
    return peer


def udp_pair(net, client=0, port=0):
    """A bound UDP socket of the client and one of the host."""
    near = open_socket(net.client_ns[client], net.addresses(client)[6], socket.SOCK_DGRAM, port)
    near.settimeout(2)
    return near, open_socket(net.behind_ns, BEHIND4, socket.SOCK_DGRAM)


def ask(near, far, data=b"ask", answer=b"answer"):
    """There and back → the endpoint that the host saw."""
    near.sendto(data, (HOST, far.getsockname()[1]))
    got, peer = far.recvfrom(65_535)
    assert_same(got, data, "to the host")
    for _ in range(3):  # the host's kernel learns the path's MTU from what it loses, as with every UDP
        far.sendto(answer, peer)
        try:
            assert_same(near.recv(65_535), answer, "back to the client")
            return peer
        except TimeoutError:
            continue
    raise TimeoutError(f"{len(answer)} bytes did not come back")


def test_f3_tcp_udp_and_pings_of_all_sizes(translated):
    net = translated()
    assert net.addresses().keys() == {6}
    for size in (56, 1232, 2000, 10_000):
        ping(net.client_ns[0], HOST, size=size)
    assert transfer(net)[0] == SOURCE
    near, far = udp_pair(net)
    with near, far:
        for size in (0, 1, 1000, 1452, 5000, 20_000):
            assert ask(near, far, content(size, 3), content(size, 4))[0] == SOURCE
    stats = shown(net, "stats")
    assert stats["created"]["tcp"] == 1
    assert stats["drops"].keys() <= {"nat64.too_big"}
    assert stats["fragments"] == 0


def test_e6_traceroute_shows_every_hop(translated):
    net = translated()
    client = net.client_ns[0]
    for hops, source in ((1, f"{PREFIX}a58:1"), (2, f"{PREFIX}a63:1")):
        text = client.run("ping", "-n", "-c1", "-W2", "-t", str(hops), HOST, check=False).stdout
        assert f"From {source} icmp_seq=1 Time exceeded: Hop limit" in text
    assert "1 received" in client.run("ping", "-n", "-c1", "-W5", "-t", "3", HOST).stdout


def test_s4_closed_ports_are_told(translated):
    net = translated()
    with net.client_ns[0].entered():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, 9), 15)
        near = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with near:
        near.settimeout(15)
        near.connect((HOST, 9))
        near.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            near.recv(1)


@pytest.mark.parametrize(("link", "told"), [(1300, 1320), (1000, 1280)])
def test_m1_a_smaller_mtu_in_the_ipv4_part_is_found(translated, link, told):
    net = translated(server={"tun": {"mtu": 1400}, "quic": {"max_udp_payload": 1452}}, up=False)
    net.client.configure({"tun": {"mtu": 1400}, "quic": {"max_udp_payload": 1452}})
    # The host does not know of it: its segments are what the client's MSS allows.
    net.server_ns.run("ip", "link", "set", "behind", "mtu", str(link))
    net.up()
    transfer(net)
    route = net.client_ns[0].run("ip", "-6", "route", "get", HOST).stdout
    assert f"mtu {told}" in route


def test_m3_the_host_hears_of_the_tunnels_mtu_and_of_a_path_that_narrows(translated):
    """The MTU of the tunnel is found by probing, up and down; what the host may send follows it."""
    net = translated()
    near, far = udp_pair(net)

    def fits():
        """The largest datagram that the host sends without fragments, and that arrives."""
        for _ in range(20):
            mtu = far.getsockopt(socket.IPPROTO_IP, 14)  # IP_MTU
            try:
                far.send(content(mtu - 28, 5))
                assert_same(near.recv(65_535), content(mtu - 28, 5), "to the client")
                return mtu
            except OSError:
                continue
        raise AssertionError("nothing arrives")

    def underlay(mtu):
        for namespace, interface in ((net.server_ns, "client"), (net.client_ns[0], "server")):
            namespace.run("ip", "link", "set", interface, "mtu", str(mtu))

    def client_mtu(status):
        (session,) = status["server"]["sessions"]
        return session["mtu"]

    with near, far:
        peer = ask(near, far)
        far.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        far.connect(peer)
        wide = client_mtu(net.server.wait_for("wide", lambda status: client_mtu(status) > 1400))
        assert far.getsockopt(socket.IPPROTO_IP, 14) == 1500
        assert fits() == wide - 20
        underlay(1400)
        for _ in range(100):  # only what is lost tells
            far.send(bytes(far.getsockopt(socket.IPPROTO_IP, 14) - 28))
            if client_mtu(net.server.status()) < wide:
                break
            time.sleep(0.2)
        while True:
            try:
                near.recv(65_535)
            except TimeoutError:
                break
        assert fits() == client_mtu(net.server.status()) - 20
    underlay(1500)


def test_s7_hairpin_only_where_isolation_is_off(translated):
    for isolation in (True, False):
        net = translated(clients=2, server={"session": {"isolation": isolation, "dns": ["fd77::1"]}})
        near, far = udp_pair(net, 1, 40_001)
        other = open_socket(net.client_ns[0], net.addresses(0)[6], socket.SOCK_DGRAM)
        with near, far, other:
            _, port = ask(near, far)
            other.sendto(b"across", (f"{PREFIX}{SOURCE}", port))
            if isolation:
                net.server.wait_for("isolating", lambda status: status["drops"].get("isolation"))
                continue
            got, (address, back, *_) = near.recvfrom(100)
            assert (got, address) == (b"across", f"{PREFIX}a58:1")
            near.sendto(b"and back", (address, back))
            assert other.recv(100) == b"and back"
            assert shown(net, "sessions")["total"] == 3


def test_s1_what_a_client_had_goes_with_it(translated):
    net = translated()
    near, far = udp_pair(net)
    with near, far:
        peer = ask(near, far)
        assert shown(net, "bindings")["total"] == 1
        net.client.stop()
        net.server.wait_for("without the session", lambda status: not status["server"]["sessions"])
        assert shown(net, "bindings") == {"total": 0, "bindings": []}
        far.connect(peer)
        far.send(b"late")
        with pytest.raises(ConnectionRefusedError):
            far.recv(1)
    net.client.start()
    net.client.wait_state("connected")
    ping(net.client_ns[0], HOST)


def test_s9_after_a_restart_of_the_server_new_flows_pass_and_old_ones_end_cleanly(translated):
    net = translated()
    with open_socket(net.behind_ns, BEHIND4, socket.SOCK_STREAM) as listener:
        listener.listen(1)
        near, far, _ = connected(net, listener)
    with near, far:
        net.server.stop()
        net.server.start()
        net.server.wait_state("listening")
        net.server.wait_for("joined again", lambda status: status["server"]["sessions"])
        net.client.wait_state("connected")
        ping(net.client_ns[0], HOST)
        transfer(net, 100_000)
        near.send(b"of before")
        dropped = net.server.wait_for("dropping", lambda s: s["drops"].get("nat64.no_session"))
        assert "stage_error" not in dropped["drops"]


def test_with_an_ipv4_pool_the_source_is_reserved_in_it(translated):
    net = translated({"source_ip": None}, up=False, ipv4="10.77.0.0/29")
    net.server.configure({"plugins": {"nat64": {"source_ip": None}}})
    net.up()
    assert transfer(net, 100_000)[0] == "10.77.0.6"
    pools = {pool["prefix"]: pool["leasable"] for pool in net.server.status()["server"]["pools"]}
    assert pools["10.77.0.0/29"] == 4  # of six hosts one is the server's, one the translator's


def test_the_servers_own_address_is_refused_at_the_start_and_by_check(translated):
    net = translated({"source_ip": "10.77.0.1"}, up=False, ipv4="10.77.0.0/24")
    for command in ("check", "run"):
        done = net.server_ns.run(VPNRS, command, str(net.server.config), check=False)
        assert done.returncode == 2
        assert "source_ip 10.77.0.1 is this server's own address" in done.stderr
    net.server.configure({"plugins": {"nat64": {"source_ip": "10.99.0.1"}}})
    done = net.server_ns.run(VPNRS, "check", str(net.server.config), check=False)
    assert "10.99.0.1 is an address of this host" in done.stderr


def test_an_address_of_the_lan_behind_works_with_proxy_arp(translated):
    net = translated({"source_ip": "10.99.0.77"}, up=False)
    net.server_ns.run("sysctl", "-qw", "net.ipv4.conf.behind.proxy_arp=1", "net.ipv4.neigh.behind.proxy_delay=0")
    net.up()
    assert transfer(net, 100_000)[0] == "10.99.0.77"


def test_a_private_source_works_with_masquerade_and_strict_reverse_paths(translated):
    if not shutil.which("nft"):
        pytest.skip("nft is not installed")
    net = translated({"source_ip": "172.31.255.1", "masquerade": True}, up=False)
    net.server_ns.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1")
    net.up()
    assert transfer(net, 100_000)[0] == "10.99.0.1"
    for size in (56, 2000, 10_000):
        ping(net.client_ns[0], HOST, size=size)
    text = net.client_ns[0].run("ping", "-n", "-c1", "-W2", "-t", "2", HOST, check=False).stdout
    assert f"From {PREFIX}a63:1 icmp_seq=1 Time exceeded: Hop limit" in text
    with net.client_ns[0].entered(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, 9), 15)
    net.stop()
    assert "table" not in net.server_ns.run("nft", "list", "tables").stdout
