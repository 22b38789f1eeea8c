"""`vpnrs reload`: what changed is in force or said to need a restart, and sessions stay.

client ── server ── behind            client1 comes later
"""

import json

import pytest

from vpnrs_core.errors import HostError
from vpnrs_core.testkit.traffic import ping
from vpnrs_core.testkit.tunnel import BEHIND4, BEHIND_NETWORKS, SERVER4


def reload(net, namespace, instance):
    return json.loads(net.vpnrs_in(namespace, "reload", "--json", "--instance", instance.name))


def tables(namespace):
    return namespace.run("nft", "list", "tables").stdout


def test_a_server_takes_over_what_can_change_and_keeps_its_sessions(tunnel):
    net = tunnel(clients=2, behind=True)
    net.behind_ns.run("ip", "route", "del", "10.77.0.0/24")
    net.up(0)
    first = net.client.status()["client"]["session"]["id"]
    assert net.vpnrs("reload", "--instance", "server") == "nothing has changed\n"
    net.server.configure({
        "session": {"routes": BEHIND_NETWORKS, "max_sessions": 7}, "forwarding": {"enable": True, "nat44": True},
        "quic": {"idle_timeout": 20}, "log": {"format": "json"},
    })  # fmt: skip
    answer = reload(net, net.server_ns, net.server)
    assert answer["applied"] == [
        "forwarding.enable: false → true",
        "forwarding.nat44: false → true",
        "log.format: human → json",
        "session.max_sessions: 1000 → 7 (sessions above it stay)",
        "session.routes: [] → [10.99.0.0/24, fd00:99::/64] (for sessions granted from now on)",
    ]
    assert [text.split(":")[0] for text in answer["needs_restart"]] == ["quic.idle_timeout"]
    assert net.server.log.splitlines()[-1].startswith("{")
    net.clients[1].start()
    net.clients[1].wait_state("connected")
    ping(net.client_ns[1], BEHIND4)
    assert net.client.status()["client"]["session"]["id"] == first
    assert net.client.log.count(" connected ") == 1
    ping(net.client_ns[0], SERVER4)
    net.server.configure({"forwarding": {"enable": True, "nat44": False}})
    assert reload(net, net.server_ns, net.server)["applied"] == ["forwarding.nat44: true → false"]
    assert tables(net.server_ns) == ""


def test_a_client_takes_over_routes_and_kill_switch_in_its_session(tunnel):
    net = tunnel(behind=True)
    net.server.configure({"forwarding": {"enable": True}})
    net.up()
    ns, first = net.client_ns[0], net.client.status()["client"]["session"]["id"]
    net.client.configure({"routes": BEHIND_NETWORKS, "kill_switch": True, "reconnect": {"max": 30}})
    answer = reload(net, ns, net.client)
    assert [text.split(":")[0] for text in answer["applied"]] == ["kill_switch", "reconnect.max", "routes"]
    ping(ns, BEHIND4)
    assert "vpnrs_client.kill" in tables(ns)
    net.client.configure({"routes": [], "kill_switch": False})
    reload(net, ns, net.client)
    assert tables(ns) == ""
    assert "vpnrs0" not in ns.run("ip", "route", "get", BEHIND4, check=False).stdout
    status = net.client.status()
    assert status["client"]["routes"] == []
    assert status["client"]["session"]["id"] == first


WRONG = (
    ({"routes": ["10.200.0.0/16"]}, "overlaps 10.200.0.0/24"),
    ({"tun": {"mtu": 100}}, "tun"),
    ({"unknown": 1}, "unknown"),
)


def test_what_is_wrong_changes_nothing(tunnel):
    net = tunnel().up()
    written = net.client.config.read_text()
    for change, says in WRONG:
        net.client.config.write_text(written)
        net.client.configure(change)
        with pytest.raises(HostError, match=says):
            reload(net, net.client_ns[0], net.client)
        assert net.client.status()["client"]["routes"] == []
    ping(net.client_ns[0], SERVER4)
