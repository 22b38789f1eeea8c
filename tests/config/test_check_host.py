"""Host settings against each other; test_host_combinations.py has every combination of them."""

import pytest

from vpnrs_core.config.check_host import check_host_settings
from vpnrs_core.config.models import ClientConfig, ServerConfig

PIN = "sha256:" + "ab" * 32


def client(**keys):
    return ClientConfig(**{"server": "192.0.2.1:4433", "server_pin": PIN, **keys})


def server(ipv4="10.77.0.0/24", routes=(), tun="vpnrs%d", **forwarding):
    return ServerConfig(
        addresses={"ipv4": ipv4, "ipv6": "fd77::/64"},
        session={"routes": routes},
        tun={"name": tun},
        forwarding=forwarding,
    )


def found(configuration):
    return [(finding.level, finding.text) for finding in check_host_settings(configuration)]


@pytest.mark.parametrize(
    ("configuration", "level", "says"),
    [
        (server(ipv4="none", nat44=True, enable=True, routes=["0.0.0.0/0"]), "error", "masquerades the IPv4 pool"),
        (server(nat44=True, routes=["0.0.0.0/0"]), "warning", "nat44 is about packets that this host forwards"),
        (server(clamp_mss=True), "warning", "clamp_mss is about packets that this host forwards"),
        (server(nat44=True, enable=True), "warning", "pushes no IPv4 route"),
        (server(nat44=True, enable=True, routes=["0.0.0.0/0"], tun='a"b'), "error", "nftables cannot name"),
        (client(routes=["192.0.2.1/32"]), "error", "the server's own address"),
        (client(kill_switch=True, accept_routes=False), "warning", "all of IPv4 and IPv6 into it: the rest is cut off"),
        (client(kill_switch=True, routes=["0.0.0.0/0"]), "warning", "all of IPv6 into it: the rest is cut off, unless"),
        (client(kill_switch=True, routes=["0.0.0.0/0", "::/0"], server="vpn.example.org:4433"), "warning", "by name"),
        (client(kill_switch=True, routes=["0.0.0.0/0", "::/0"], tun={"name": "a*"}), "error", "nftables cannot name"),
    ],
)
def test_what_does_not_fit_together_is_said(configuration, level, says):
    (only,) = found(configuration)
    assert only[0] == level
    assert says in only[1]


HALVES = ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"]


@pytest.mark.parametrize("configuration", [
    server(), server(enable=True, clamp_mss=True), server(enable=True, nat44=True, routes=["0.0.0.0/0"]), client(),
    client(routes=["192.0.2.0/24", "0.0.0.0/0", "::/0"]), client(kill_switch=True, routes=HALVES),
    client(dns_domains=["corp.example"], routes=["10.0.0.0/8"]),
])  # fmt: skip
def test_what_fits_together_is_not_complained_about(configuration):
    assert found(configuration) == []
