"""A host behind the server and the clients reach each other when the server is told to forward, and only then.

client ── server ── behind
"""

import pytest

from vpnrs_core.testkit.traffic import content, ping, tcp_transfer, udp_exchange
from vpnrs_core.testkit.tunnel import BEHIND4, BEHIND6, BEHIND_NETWORKS

SWITCHES = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


def forwarding(net, value=None):
    if value is not None:
        net.server_ns.run("sysctl", "-q", *(f"{switch}={value}" for switch in SWITCHES))
    return net.server_ns.run("sysctl", "-n", *SWITCHES).stdout.split()


def routed(net, enable):
    forwarding(net, 0)
    net.server.configure({"session": {"routes": BEHIND_NETWORKS}, "forwarding": {"enable": enable}})
    return net.up()


def test_both_families_reach_the_host_behind_and_it_reaches_the_client(tunnel):
    net = routed(tunnel(behind=True), True)
    assert forwarding(net) == ["1", "1"]
    client, behind = net.client_ns[0], net.behind_ns
    for version, address in ((4, BEHIND4), (6, BEHIND6)):
        own = net.addresses()[version]
        ping(client, address)
        ping(behind, own)
        tcp_transfer(client, behind, address, content(2_000_000, 1), content(1_000_000, 2))
        tcp_transfer(behind, client, own, content(1_000_000, 3))
        assert udp_exchange(client, behind, address, datagrams=300) < 10
        assert udp_exchange(behind, client, own, datagrams=300) < 10
    net.stop()
    assert forwarding(net) == ["0", "0"]


def test_a_server_that_is_not_told_to_forward_does_not(tunnel):
    net = routed(tunnel(behind=True), False)
    assert forwarding(net) == ["0", "0"]
    for address in (BEHIND4, BEHIND6):
        # -W 1: here no answer is the right one.
        assert net.client_ns[0].run("ping", "-n", "-c1", "-W1", address, check=False).returncode == 1


def test_forwarding_that_was_on_stays_on(tunnel):
    net = tunnel(behind=True)
    forwarding(net, 1)
    net.server.configure({"forwarding": {"enable": True}})
    net.start_server()
    net.stop()
    assert forwarding(net) == ["1", "1"]


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "expected"), [("10.77.0.0/24", None, ["1", "0"]), (None, "fd77::/64", ["0", "1"])]
)
def test_only_the_families_of_the_pools_are_forwarded(tunnel, ipv4, ipv6, expected):
    net = tunnel(ipv4=ipv4, ipv6=ipv6)
    forwarding(net, 0)
    net.server.configure({"forwarding": {"enable": True}})
    net.start_server()
    assert forwarding(net) == expected


def test_super_packets_of_the_host_behind_stay_whole_on_their_way_through_the_server(tunnel):
    """As on the way of the server's own: what the kernel cuts before the TUN costs three times the CPU."""
    net = routed(tunnel(behind=True), True)
    before = net.server.status()
    tcp_transfer(net.behind_ns, net.client_ns[0], net.addresses()[4], content(8_000_000, 4))
    after = net.server.status()
    frames = after["tun"]["frames_read"] - before["tun"]["frames_read"]
    packets = after["egress"]["packets"] - before["egress"]["packets"]
    print(f"{packets} packets in {frames} frames")
    assert packets > 8_000_000 / 1500
    assert packets > 3 * frames
