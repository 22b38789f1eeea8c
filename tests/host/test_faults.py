"""A process that is killed before or after any single change leaves the host as it was: routes, rules, addresses,
links, nft tables, settings, resolv.conf.

host ── eth (10.203.1.0/24, fd00:203::/64) ── neighbour          the host's part alone, at every step: fault_driver.py
client ── server (10.250.0.1, beyond the link)                   the whole command, a sample: run_driver.py
"""

import json
import sys
from pathlib import Path

import pytest

from vpnrs_core.testkit.tunnel import BEHIND_NETWORKS, SERVER4, endpoint

pytestmark = pytest.mark.netns
HERE = Path(__file__).parent


def driven(namespace, driver, *arguments):
    done = namespace.run(sys.executable, str(HERE / driver), *map(str, arguments), timeout=300)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    return found


@pytest.mark.parametrize(("how", "each", "least"), [("guard", 1, 140), ("start", 6, 20)], ids=["guard", "start"])
def test_killed_at_any_step_the_host_is_as_it_was(netns, tmp_path, how, each, least):
    host, neighbour = netns.namespace("host"), netns.namespace("eth")
    netns.connect(host, neighbour, "10.203.1.0/24", "fd00:203::/64")
    host.run("ip", "route", "add", "default", "via", "10.203.1.2")
    host.run("ip", "-6", "route", "add", "default", "via", "fd00:203::2", "dev", "eth", "proto", "ra")
    assert driven(host, "fault_driver.py", tmp_path, how, each)["killed"] >= least


def test_a_whole_client_that_is_killed_leaves_its_host_as_it_was(tunnel, tmp_path):
    net = tunnel()
    ns = net.client_ns[0]
    net.net.add_address(net.server_ns, "lo", "10.250.0.1/32")
    net.net.add_address(net.server_ns, "client", "10.200.0.9/24")
    ns.run("ip", "route", "add", "default", "via", "10.200.0.1", "proto", "static")
    net.server.configure({"session": {"dns": [SERVER4]}})
    net.client.configure({
        "server": endpoint("10.250.0.1"), "routes": ["0.0.0.0/0", "::/0"], "accept_dns": True, "kill_switch": True,
        "reconnect": {"min": 0.1, "max": 0.2},
    })  # fmt: skip
    net.start_server()
    found = driven(ns, "run_driver.py", net.client.config, tmp_path, 7)
    assert found["steps"] > 60
    assert found["killed"] >= found["steps"] // 7


def test_a_whole_server_that_is_killed_leaves_its_host_as_it_was(tunnel, tmp_path):
    net = tunnel(behind=True)
    net.server.configure({"session": {"routes": BEHIND_NETWORKS}, "forwarding": {"enable": True, "nat44": True}})
    found = driven(net.server_ns, "run_driver.py", net.server.config, tmp_path, 3)
    assert found["steps"] > 20
    assert found["killed"] >= found["steps"] // 3
