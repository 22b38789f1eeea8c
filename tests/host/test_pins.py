"""Which way a pin takes, and what needs one."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from vpnrs_core.host.netlink import ROUTE_PROTOCOL, HostRoute
from vpnrs_core.host.pins import BACKSTOP_METRIC, PIN_METRIC, halves, pin_by, to_pin, way_to

TUN = 7
SERVER = ip_network("203.0.113.5/32")


def route(network, interface="eth0", gateway="192.168.1.1", *, index=2, metric=0, protocol=3):
    return HostRoute(ip_network(network), index, interface, gateway, protocol, 254, metric)


ROUTES = [
    route("0.0.0.0/0", metric=100),
    route("0.0.0.0/0", "wlan0", "192.168.7.1", index=3, metric=600),
    route("192.168.1.0/24", gateway=None),
    route("0.0.0.0/1", "vpnrs0", None, index=TUN, protocol=ROUTE_PROTOCOL),
    route("128.0.0.0/1", "vpnrs0", None, index=TUN, protocol=ROUTE_PROTOCOL),
    route("203.0.113.5/32", metric=PIN_METRIC + TUN, protocol=ROUTE_PROTOCOL),
    route("::/0", gateway="fe80::1", metric=1024),
]


def test_the_way_is_the_most_specific_then_the_cheapest_route_that_is_not_this_tunnels():
    assert way_to(SERVER, ROUTES, TUN) == ROUTES[0]
    assert way_to(ip_network("192.168.1.9/32"), ROUTES, TUN) == ROUTES[2]
    assert way_to(ip_network("2001:db8::1/128"), ROUTES, TUN) == ROUTES[6]


def test_another_tunnel_is_a_way_like_any_other():
    other = [*ROUTES, route("203.0.113.0/24", "vpnrs1", None, index=8, protocol=ROUTE_PROTOCOL)]
    assert way_to(SERVER, other, TUN) == other[-1]
    assert way_to(SERVER, ROUTES, 8) == ROUTES[5], "as are another tunnel's pins"


def test_without_a_network_there_is_no_way():
    assert way_to(SERVER, [each for each in ROUTES if each.index == TUN], TUN) is None


def test_a_pin_goes_as_the_way_does():
    pin = pin_by(SERVER, ROUTES[0], TUN)
    assert (pin.interface, pin.gateway, pin.metric) == ("eth0", "192.168.1.1", PIN_METRIC + TUN)
    assert type(pin).from_record(pin.record()) == pin
    assert pin_by(SERVER, replace(ROUTES[0], onlink=True), TUN).onlink
    assert PIN_METRIC + TUN < BACKSTOP_METRIC, "the smaller metric wins"


@pytest.mark.parametrize(
    ("underlay", "into", "pinned"),
    [
        ("203.0.113.5/32", "128.0.0.0/1", True),
        ("203.0.113.5/32", "10.0.0.0/8", False),
        ("203.0.113.5/32", "::/1", False),
        ("2001:db8::5/128", "::/1", True),
        ("fe80::5/128", "8000::/1", False),
        ("127.0.0.1/32", "0.0.0.0/1", False),
    ],
)
def test_only_what_would_be_swallowed_is_pinned(underlay, into, pinned):
    target = ip_network(underlay)
    assert to_pin([target, target], [ip_network(into)]) == ([target] if pinned else [])


@pytest.mark.parametrize(
    ("network", "parts"),
    [
        ("0.0.0.0/0", ["0.0.0.0/1", "128.0.0.0/1"]),
        ("::/0", ["::/1", "8000::/1"]),
        ("10.0.0.0/8", ["10.0.0.0/8"]),
    ],
)
def test_only_a_default_route_is_halved(network, parts):
    assert halves(ip_network(network)) == tuple(map(ip_network, parts))
