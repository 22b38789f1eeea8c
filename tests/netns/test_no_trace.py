"""Both hosts are afterwards as they were before, however an instance ended; a crash is mended by the next start.

client ── server ── behind            Both instances have routes, addresses and forwarding to undo.
"""

import json
import os
import signal

import pytest

from vpnrs_core.testkit.traffic import ping
from vpnrs_core.testkit.tunnel import BEHIND4, BEHIND6, BEHIND_NETWORKS

FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


@pytest.fixture
def busy(tunnel):
    net = tunnel(behind=True)
    net.server_ns.run("sysctl", "-q", *(f"{name}=0" for name in FORWARDING))
    net.server.configure({"session": {"routes": BEHIND_NETWORKS}, "forwarding": {"enable": True}})
    return net


def works(net):
    ping(net.client_ns[0], BEHIND4)
    ping(net.client_ns[0], BEHIND6)


def files(net):
    """All files of this tunnel but for its logs; the instances' temporary ones would be among them."""
    return sorted(str(path) for path in net.directory.rglob("*") if path.suffix != ".log")


def by_stop(net, instance):
    net.vpnrs("stop", "--instance", instance.name)
    return instance.wait()


def by_signal(number):
    def end(net, instance):
        instance.signal(number)
        return instance.wait()

    return end


@pytest.mark.parametrize(
    ("end", "first"),
    [(by_stop, "server"), (by_signal(signal.SIGTERM), "server"), (by_signal(signal.SIGINT), "client")],
    ids=["stop", "SIGTERM", "SIGINT"],
)
def test_nothing_is_left_after_a_normal_end(busy, end, first):
    net = busy
    net.run_dir.mkdir()
    temporary = net.directory / "tmp"
    temporary.mkdir()
    for instance in (net.client, net.server):
        instance.env["TMPDIR"] = str(temporary)
    before = files(net)
    net.up()
    works(net)
    assert net.left_behind(), "a running tunnel shows"
    order = [net.client, net.server] if first == "client" else [net.server, net.client]
    assert [end(net, instance) for instance in order] == [0, 0]
    assert net.left_behind() == []
    assert files(net) == before


def test_a_second_signal_breaks_no_undo(busy):
    busy.up()
    for instance in (busy.client, busy.server):
        instance.signal(signal.SIGTERM)
        instance.signal(signal.SIGINT)
        assert instance.wait() == 0
    assert busy.left_behind() == []


@pytest.mark.parametrize("who", ["client", "server"])
def test_what_a_crash_left_is_undone_by_the_next_start(busy, who):
    net = busy.up()
    crashed = net.client if who == "client" else net.server
    other = net.server if who == "client" else net.client
    works(net)
    crashed.kill(guard=True)
    left = net.left_behind()
    assert any("journal" in entry for entry in left)
    if who == "server":
        assert net.server_ns.run("sysctl", "-n", *FORWARDING).stdout.split() == ["1", "1"]
    lines = len(crashed.log.splitlines())
    crashed.start("--log-format", "json")
    crashed.wait_state("connected" if who == "client" else "listening")
    told = [json.loads(line) for line in crashed.log.splitlines()[lines:]]
    assert any("undone what the last run left behind" in line.get("text", "") for line in told)
    other.stop()
    assert crashed.stop() == 0
    assert net.left_behind() == []
    assert net.server_ns.run("sysctl", "-n", *FORWARDING).stdout.split() == ["0", "0"]


@pytest.mark.parametrize("who", ["client", "server"])
def test_the_guard_undoes_what_a_killed_instance_changed(busy, who):
    net = busy.up()
    killed, other = (net.client, net.server) if who == "client" else (net.server, net.client)
    works(net)
    killed.kill()
    assert "the guard has undone" in killed.log
    assert not list(killed.run_dir.glob(f"{killed.name}/*"))
    killed.start()
    killed.wait_state("connected" if who == "client" else "listening")
    assert "left behind" not in killed.log, "nothing was left for the next start"
    other.stop()
    killed.kill()
    assert net.left_behind() == []


def test_a_guard_that_was_killed_is_missed(tunnel):
    net = tunnel()
    net.start_server()
    os.kill(net.server.guard_pid(), signal.SIGKILL)
    net.server.wait_for("told of it", lambda _: "the guard (pid" in net.server.log)
    assert net.server.stop() == 0


def test_a_client_that_never_connected_leaves_nothing(tunnel):
    net = tunnel()
    net.remember()
    net.client.start()
    net.client.wait_for("trying", lambda status: status["client"]["attempts"] == 1)
    assert net.client.stop() == 0
    assert net.left_behind() == []
