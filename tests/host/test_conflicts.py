"""The rules against taking what the host has."""

from ipaddress import ip_address, ip_network

import pytest

from vpnrs_core.errors import HostError
from vpnrs_core.host.conflicts import check_address, check_route, check_underlay
from vpnrs_core.host.netlink import HostAddress


def on(text, interface="eth0"):
    address, _, prefixlen = text.partition("/")
    return HostAddress(2, interface, ip_address(address), int(prefixlen), ip_network(text, strict=False))


HOST = [
    on("127.0.0.1/8", "lo"),
    on("::1/128", "lo"),
    on("192.168.1.7/24"),
    on("fd00:1::7/64"),
    on("fe80::1/64"),
    on("172.17.0.1/16", "docker0"),
]


@pytest.mark.parametrize(
    ("network", "interface"),
    [
        ("192.168.1.0/24", "eth0"),
        ("192.168.0.0/16", "eth0"),
        ("192.168.1.128/25", "eth0"),
        ("192.168.1.9/32", "eth0"),
        ("172.16.0.0/12", "docker0"),
        ("fd00::/8", "eth0"),
        ("fd00:1::5/128", "eth0"),
        ("128.0.0.0/2", "docker0"),
    ],
)
def test_an_overlapping_route_is_refused_naming_both(network, interface):
    with pytest.raises(HostError, match=rf"{network}.*overlaps .* by interface {interface}"):
        check_route(ip_network(network), HOST)


@pytest.mark.parametrize(
    "network", ["10.0.0.0/8", "192.168.2.0/24", "fd00:2::/64", "0.0.0.0/0", "128.0.0.0/1", "::/0", "::/1", "2000::/3"]
)
def test_other_routes_and_half_the_world_pass(network):
    check_route(ip_network(network), HOST)


def test_a_plugin_may_take_a_single_address_of_a_network_but_not_the_hosts_own():
    check_route(ip_network("192.168.1.9/32"), HOST, declared=True)
    check_route(ip_network("fd00:1::5/128"), HOST, declared=True)
    for network in ("192.168.1.7/32", "fd00:1::7/128", "192.168.1.8/31"):
        with pytest.raises(HostError, match=f"{network} into the tunnel overlaps"):
            check_route(ip_network(network), HOST, declared=True)


def test_an_address_that_the_host_has_is_refused_naming_the_interface():
    with pytest.raises(HostError, match=r"172\.17\.0\.1 is already on this host, on interface docker0"):
        check_address(ip_address("172.17.0.1"), 32, HOST)


def test_a_tunnel_network_that_the_host_is_on_is_refused():
    with pytest.raises(HostError, match=r"192\.168\.0\.0/16 overlaps 192\.168\.1\.0/24"):
        check_address(ip_address("192.168.77.1"), 16, HOST)


@pytest.mark.parametrize(
    ("address", "prefixlen"), [("10.77.0.1", 24), ("192.168.1.99", 32), ("fd77::1", 64), ("fd00:1::99", 128)]
)
def test_other_addresses_pass(address, prefixlen):
    check_address(ip_address(address), prefixlen, HOST)


SERVER = [ip_network("203.0.113.5/32")]


def test_a_route_for_the_server_itself_is_refused():
    with pytest.raises(HostError, match=r"203\.0\.113\.5/32 would send the traffic to the server itself"):
        check_underlay(ip_network("203.0.113.5/32"), SERVER)


@pytest.mark.parametrize("network", ["203.0.113.0/24", "0.0.0.0/0", "10.0.0.0/8", "::/0", "203.0.113.6/32"])
def test_a_route_around_the_server_or_elsewhere_passes(network):
    check_underlay(ip_network(network), SERVER)
