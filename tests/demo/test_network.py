"""The demo's three namespaces: connected, compared, removed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpnrs_core.demo import traffic
from vpnrs_core.demo.network import BEHIND, CLIENT, CLIENT6, IPV4_ONLY, SERVER, Network
from vpnrs_core.errors import HostError
from vpnrs_core.host import namespace

pytestmark = pytest.mark.netns


@pytest.fixture
def network(netns: object) -> Iterator[Network]:
    made = Network(f"t{os.urandom(3).hex()}")
    try:
        made.build()
        yield made
    finally:
        made.end_processes()
        assert made.close() == []


def ip(network: Network, label: str, *arguments: str) -> None:
    subprocess.run(["ip", "-n", network.names[label], *arguments], check=True)


def test_all_wires_carry_at_once(network: Network) -> None:
    for here, address in (
        (CLIENT, "192.0.2.1"), (SERVER, "198.51.100.2"), (SERVER, "2001:db8:51::2"), (CLIENT6, "2001:db8:6::1"),
        (SERVER, "203.0.113.2"),
    ):  # fmt: skip
        assert 0 < traffic.ping(network.names[here], address, 1, 0.0) < 1000


def test_the_client_does_not_reach_the_host_behind_without_a_tunnel(network: Network) -> None:
    with pytest.raises(OSError, match="unreachable"):
        traffic.ping(network.names[CLIENT], "198.51.100.2", 1, 0.0)


def test_each_of_the_two_that_have_one_family_has_one_only(network: Network) -> None:
    for label, version in ((CLIENT6, "-4"), (IPV4_ONLY, "-6")):
        told = ["ip", "-n", network.names[label], version, "address", "show", "dev", "to-server"]
        assert subprocess.run(told, check=True, capture_output=True, text=True).stdout == ""
    with pytest.raises(OSError, match="unreachable"):
        traffic.ping(network.names[CLIENT6], "203.0.113.2", 1, 0.0)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("link add v9 type veth peer name w9", "left: link w9"),
        ("address add 10.9.9.9/32 dev lo", "left: address 10.9.9.9/32 on lo"),
        ("route add 10.9.0.0/16 dev lo", "left: route 10.9.0.0/16 via None on lo, table 254"),
        ("-6 route add fd09::/16 dev lo", "left: route fd09::/16 via None on lo, table 254"),
        ("rule add priority 99 lookup 99", "left: IPv4 rule 99"),
        ("-6 rule add priority 99 lookup 99", "left: IPv6 rule 99"),
        ("address del 198.51.100.1/24 dev to-behind", "gone: address 198.51.100.1/24 on to-behind"),
    ],
)
def test_a_change_is_seen(network: Network, monkeypatch: pytest.MonkeyPatch, command: str, said: str) -> None:
    assert network.changes() == []
    monkeypatch.setattr("vpnrs_core.demo.network._SETTLE_WAIT", 0.0)
    ip(network, SERVER, *command.split())
    assert f"{SERVER}: {said}" in network.changes()


def test_forwarding_that_stays_on_is_seen(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnrs_core.demo.network._SETTLE_WAIT", 0.0)
    with namespace.entered(network.names[SERVER]):
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    assert f"{SERVER}: left: ipv4/ip_forward = 1" in network.changes()


def test_what_runs_in_it_is_known_and_ended(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnrs_core.demo.network._GRACE", 0.3)
    with namespace.entered(network.names[BEHIND]):
        meek = subprocess.Popen(["sleep", "1000"])
        stubborn = subprocess.Popen(
            ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], stdout=subprocess.PIPE
        )
    assert stubborn.stdout is not None
    assert stubborn.stdout.readline() == b"ready\n"
    stubborn.stdout.close()
    assert {(BEHIND, meek.pid), (BEHIND, stubborn.pid)} <= set(network.processes())
    killed = network.end_processes()
    assert f"process {stubborn.pid} in {network.names[BEHIND]} ignored SIGTERM" in killed
    assert (meek.wait(5), stubborn.wait(5)) == (-15, -9)
    assert network.processes() == []


def test_a_name_that_is_taken_is_an_error_and_stays(network: Network) -> None:
    with pytest.raises(HostError, match="File exists"):
        namespace.create(network.names[CLIENT])
    assert namespace.exists(network.names[CLIENT])


def test_closing_before_building_and_twice_is_nothing() -> None:
    made = Network("never-built")
    assert (made.changes(), made.processes(), made.end_processes(), made.close(), made.close()) == ([], [], [], [], [])
