"""`vpnrs doctor --live` names what is wrong on a path that was broken by hand.

client ── server ── behind            One tunnel; each break is healed before the next.
"""

import json

import pytest

from vpnrs_core.engine.local_client import LocalClient
from vpnrs_core.host.rundir import BASE_VARIABLE
from vpnrs_core.testkit.instance import run_vpnrs
from vpnrs_core.testkit.tunnel import BEHIND4, BEHIND_NETWORKS


@pytest.fixture
def net(tunnel, monkeypatch):
    made = tunnel(clients=1, behind=True)
    made.server.configure(
        {"session": {"routes": list(BEHIND_NETWORKS), "dns": [BEHIND4]}, "forwarding": {"enable": True}}
    )
    made.client.configure({"accept_dns": True})
    monkeypatch.setenv(BASE_VARIABLE, str(made.run_dir))
    return made.up()


def walked(instance):
    """([(level, topic)], what the last step says), as the command asks for it."""
    with LocalClient(instance.name) as client:
        steps = client.call("core.walk")["steps"]
    return [(step["level"], step["name"]) for step in steps], steps[-1]["text"]


def test_the_first_thing_that_is_wrong_is_named(net):
    client, server = net.client_ns[0], net.server_ns
    tun = net.client.status()["tun"]["name"]
    assert not {"error"} & {level for level, _ in walked(net.server)[0]}

    # Nobody answers at the resolver that the server pushed: all before it holds.
    done = run_vpnrs("doctor", "--live", "--json", "--instance", net.client.name, run_dir=net.run_dir, check=False)
    steps = json.loads(done.stdout)
    assert (done.returncode, steps[-1]["level"], steps[-1]["topic"]) == (4, "error", "dns"), steps
    assert BEHIND4 in steps[-1]["text"]
    assert [step["level"] for step in steps[:-1]] == ["ok"] * (len(steps) - 1)

    # The server's firewall drops what comes from its TUN.
    rules = 'table inet wall { chain input { type filter hook input priority 0; iifname "vpnrs*" drop; }; }'
    server.run("nft", rules)
    steps, text = walked(net.client)
    assert steps[-1] == ("error", "server")
    server.run("nft", "delete table inet wall")

    # A route of somebody else takes precedence.
    device = json.loads(client.run("ip", "-j", "route", "get", "10.200.0.1").stdout)[0]["dev"]
    client.run("ip", "route", "add", "10.99.0.80/28", "dev", device)
    steps, text = walked(net.client)
    assert steps[-1] == ("error", "routes")
    assert f"go by {device}" in text
    client.run("ip", "route", "del", "10.99.0.80/28")

    # Forwarding was switched off behind the server's back.
    server.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    steps, text = walked(net.server)
    assert steps[-1] == ("error", "forwarding")
    assert "does not forward IPv4" in text
    server.run("sysctl", "-qw", "net.ipv4.ip_forward=1")

    # The server went away; the client says so, and why.
    net.server.stop()
    net.client.wait_for("unconnected", lambda status: status["state"] != "connected")
    steps, text = walked(net.client)
    assert steps[-1] == ("error", "session")
    assert "no session with" in text
    assert tun
