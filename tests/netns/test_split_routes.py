"""Only what is routed into the tunnel goes through it; pushed routes are a choice; a route must not hide a network.

client ── server ── behind            10.50.0.1, fd00:50::1: addresses of the server that no route into the tunnel has
"""

import socket

import pytest

from vpnrs_core.testkit.capture import Capture
from vpnrs_core.testkit.traffic import ping
from vpnrs_core.testkit.tunnel import BEHIND4, BEHIND6, BEHIND_NETWORKS

OUTSIDE = {"10.50.0.1": "10.200.0.1", "fd00:50::1": "fd00:200:0::1"}


def with_outside(net):
    for address, via in OUTSIDE.items():
        length = 128 if ":" in address else 32
        net.net.add_address(net.server_ns, "lo", f"{address}/{length}")
        net.net.add_route(net.client_ns[0], f"{address}/{length}", via)
    net.server.configure({"forwarding": {"enable": True}})
    return net


def goes_by(net, address):
    """The interface that the client's host sends by, None: it has no route."""
    done = net.client_ns[0].run("ip", "route", "get", address, check=False)
    return done.stdout.split(" dev ")[1].split()[0] if done.returncode == 0 else None


def test_only_the_routed_prefixes_go_through_the_tunnel(tunnel):
    net = with_outside(tunnel(behind=True))
    net.server.configure({"session": {"routes": BEHIND_NETWORKS}})
    net.up()
    assert net.client.status()["client"]["routes"] == list(BEHIND_NETWORKS)
    with Capture(net.client_ns[0], "server") as underlay:
        for address in (BEHIND4, BEHIND6, *OUTSIDE):
            ping(net.client_ns[0], address)
        seen = underlay.packets()
    plain = {str(destination) for destination, protocol, _ in seen if protocol in (1, 58)}
    assert plain & {BEHIND4, BEHIND6, *OUTSIDE} == set(OUTSIDE)
    tunnelled = [data for _, protocol, data in seen if protocol == socket.IPPROTO_UDP and b"\x11\x51" in data[:28]]
    assert len(tunnelled) >= 8, "two pings of each family, there and back"


def test_own_routes_need_no_push(tunnel):
    net = with_outside(tunnel(behind=True))
    net.client.configure({"routes": BEHIND_NETWORKS})
    net.up()
    ping(net.client_ns[0], BEHIND4)
    ping(net.client_ns[0], BEHIND6)


def test_pushed_routes_are_left_alone_on_request(tunnel):
    net = tunnel(behind=True)
    net.server.configure({"session": {"routes": BEHIND_NETWORKS}})
    net.client.configure({"accept_routes": False})
    net.up()
    assert net.client.status()["client"]["routes"] == []
    assert [goes_by(net, address) for address in (BEHIND4, BEHIND6)] == [None, None]


@pytest.mark.parametrize("pushed", [False, True], ids=["own", "pushed"])
@pytest.mark.parametrize("route", ["10.200.0.0/20", "fd00:200::/32"])
def test_a_route_that_hides_a_local_network_is_refused_in_words(tunnel, route, pushed):
    net = tunnel()
    if pushed:
        net.server.configure({"session": {"routes": [route]}})
    else:
        net.client.configure({"routes": [route]})
    net.start_server()
    net.client.start()
    assert net.client.wait() == 4
    assert f"the route {route} into the tunnel overlaps" in net.client.log
    assert "leave it out" in net.client.log
    assert "Traceback" not in net.client.log
