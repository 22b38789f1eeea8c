"""A process that is killed before or after any single change leaves the host as it was: routes, rules, addresses,
links, nft tables, settings, resolv.conf. The lives, and their ends, are in fault_driver.py.

host ── eth (10.203.1.0/24, fd00:203::/64) ── neighbour
"""

import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns


@pytest.mark.parametrize(("how", "each", "least"), [("guard", 1, 140), ("start", 4, 30)], ids=["guard", "start"])
def test_killed_at_any_step_the_host_is_as_it_was(netns, tmp_path, how, each, least):
    host, neighbour = netns.namespace("host"), netns.namespace("eth")
    netns.connect(host, neighbour, "10.203.1.0/24", "fd00:203::/64")
    host.run("ip", "route", "add", "default", "via", "10.203.1.2")
    host.run("ip", "-6", "route", "add", "default", "via", "fd00:203::2", "dev", "eth", "proto", "ra")
    driver = Path(__file__).with_name("fault_driver.py")
    done = host.run(sys.executable, str(driver), str(tmp_path), how, str(each), timeout=300)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["killed"] >= least
