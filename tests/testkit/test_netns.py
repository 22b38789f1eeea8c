"""Namespaces come, hold what was asked for, and go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vpnrs_core.errors import HostError
from vpnrs_core.testkit.netns import RESOLV_CONFS, Topology

pytestmark = pytest.mark.netns


def names():
    return {line.split()[0] for line in subprocess.check_output(["ip", "netns"], text=True).splitlines()}


def test_a_wire_carries_both_families_at_once(netns):
    left, right = netns.namespace("left"), netns.namespace("right")
    interfaces = netns.connect(left, right, "10.202.1.0/24", "fd00:202::/64", mtu=1400)
    assert interfaces == ("right", "left")
    assert [str(address) for address in right.addresses] == ["10.202.1.2", "fd00:202::2"]
    for address in right.addresses:
        left.run("ping", "-c1", "-W2", str(address))
    assert "mtu 1400" in right.run("ip", "link", "show", "left").stdout
    assert netns.connect(left, right, "10.202.2.0/24") == ("right-2", "left-2")


def test_long_labels_give_interfaces_the_kernel_takes(netns):
    one, two = netns.namespace("a-very-long-label-of-a-host"), netns.namespace("b")
    assert all(len(name) <= 15 for name in netns.connect(one, two, "10.202.1.0/24"))


@pytest.mark.usefixtures("netns")
def test_everything_goes_on_failure_too():
    with pytest.raises(RuntimeError, match="on purpose"), Topology() as net:  # noqa: PT012  # the topology is the point
        here = net.namespace("here")
        child = here.spawn("sleep", "1000")
        assert here.name in names()
        raise RuntimeError("on purpose")
    assert here.name not in names()
    assert child.returncode is not None


def test_a_process_that_ignores_sigterm_is_ended_too(netns, monkeypatch):
    monkeypatch.setattr("vpnrs_core.testkit.netns._GRACE", 0.3)
    here = netns.namespace("here")
    child = here.spawn("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done", stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    here.stop()
    assert here.pids() == []
    assert child.returncode == -9


@pytest.mark.usefixtures("netns")
def test_namespaces_go_when_python_exits_without_closing_them():
    program = "from vpnrs_core.testkit.netns import *; t = Topology(); print(t.namespace('left').name)"
    name = subprocess.check_output([sys.executable, "-c", program], text=True).strip()
    assert name.startswith("vt")
    assert name not in names()


def test_a_command_that_fails_tells_its_output(netns):
    with pytest.raises(HostError, match=r"exit 3: went wrong"):
        netns.namespace("here").run("sh", "-c", "echo went wrong >&2; exit 3")


def test_this_process_may_enter_and_is_back_afterwards(netns):
    here = netns.namespace("here")
    outside = subprocess.check_output(["readlink", "/proc/self/ns/net"])
    with here.entered():
        assert subprocess.check_output(["readlink", "/proc/self/ns/net"]) != outside
    assert subprocess.check_output(["readlink", "/proc/self/ns/net"]) == outside


@pytest.mark.parametrize(
    ("command", "section"),
    [
        ("ip link add vt9 type veth peer name vt10", "links"),
        ("ip address add 10.9.9.9/32 dev lo", "addresses"),
        ("ip route add 10.9.0.0/16 dev lo", "routes4"),
        ("ip -6 route add fd09::/16 dev lo", "routes6"),
        ("ip rule add priority 99 lookup 99", "rules4"),
        ("ip -6 rule add priority 99 lookup 99", "rules6"),
        ("nft add table inet vt", "nft"),
        ("sysctl -q -w net.ipv4.ip_forward=1", "files"),
    ],
)
def test_a_snapshot_sees_what_was_left_behind(netns, command, section):
    here = netns.namespace("here")
    before = here.snapshot()
    assert before.differences(here.snapshot()) == []
    here.run(*command.split())
    assert any(text.startswith(section) for text in before.differences(here.snapshot()))


def test_the_machines_resolv_conf_is_out_of_reach(netns):
    """A client that is pushed DNS servers writes /etc/resolv.conf: it must be the namespace's."""
    machine = Path("/etc/resolv.conf").read_text()
    namespace = netns.namespace("a")
    if os.geteuid() or not os.access("/etc/netns", os.W_OK):
        pytest.skip("not root of the machine")
    namespace.run("sh", "-c", "echo nameserver 192.0.2.99 > /etc/resolv.conf")
    assert namespace.run("cat", "/etc/resolv.conf").stdout == "nameserver 192.0.2.99\n"
    assert Path("/etc/resolv.conf").read_text() == machine
    netns.close()
    assert not (RESOLV_CONFS / namespace.name).exists()
