"""SIGTERM and SIGINT in every state: gone within three seconds, exit code 0, nothing left behind.

client ── relay ── server
"""

import signal
import subprocess
import sys
import time

import pytest

from vpnrs_core.testkit.tunnel import SERVER4

WITHIN = 3.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def ends(net, instance, number):
    began = time.monotonic()
    instance.signal(number)
    assert instance.wait() == 0, instance.log
    assert time.monotonic() - began < WITHIN
    assert "Traceback" not in instance.log
    assert "internal" not in instance.log
    assert "plugin_failed" not in instance.log
    assert not (net.run_dir / instance.name).exists()


@pytest.fixture
def alone(tunnel):
    """A client whose server is not there."""
    net = tunnel(relay={})
    net.remember()
    return net


@pytest.mark.parametrize("number", SIGNALS)
def test_a_client_that_connects_to_nobody(alone, number):
    alone.relays[0].blackout()
    alone.client.start()
    alone.client.wait_state("connecting")
    ends(alone, alone.client, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_client_that_waits_for_its_next_try(alone, number):
    alone.client.configure({"reconnect": {"min": 30}})
    alone.client.start()
    status = alone.client.wait_state("waiting", 30)
    assert 25 < status["client"]["next_try_seconds"] <= 31
    assert status["client"]["last_error"]
    ends(alone, alone.client, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_both_sides_while_connected(tunnel, number):
    net = tunnel().up()
    ends(net, net.client, number)
    net.client.start()
    net.client.wait_state("connected")
    ends(net, net.server, number)
    net.client.wait_for("told", lambda s: s["client"]["last_error"])
    assert "shutting_down" in net.client.status()["client"]["last_error"]


@pytest.mark.parametrize("number", SIGNALS)
def test_both_sides_under_load(tunnel, number):
    net = tunnel().up()
    net.server_ns.spawn("iperf3", "-s", stdout=subprocess.DEVNULL)
    net.server_ns.run("sh", "-c", "until ss -ltn | grep -q :5201; do sleep 0.05; done")
    net.client_ns[0].spawn("iperf3", "-c", SERVER4, "-t", "30", "--bidir", stdout=subprocess.DEVNULL)
    net.client.wait_for("under load", lambda s: s["client"]["session"]["egress"]["bytes"] > 10_000_000)
    ends(net, net.server, number)
    ends(net, net.client, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_both_sides_when_the_path_is_gone(tunnel, number):
    net = tunnel(relay={}).up()
    net.relays[0].blackout()
    ends(net, net.client, number)
    ends(net, net.server, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_both_sides_during_the_handshake(tunnel, number):
    net = tunnel(relay={"delay": 400})
    net.start_server()
    net.client.start()
    net.client.wait_state("connecting")
    time.sleep(0.9)  # the first round trip is over, the second is not
    assert net.client.status()["state"] == "connecting"
    ends(net, net.client, number)
    net.client.start()
    net.client.wait_state("connecting")
    time.sleep(0.9)
    ends(net, net.server, number)


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.3, 0.5, 0.7])
def test_a_server_that_is_stopped_while_it_starts(tunnel, moment):
    net = tunnel()
    net.remember()
    net.server.start()
    time.sleep(moment)
    net.server.signal(signal.SIGTERM)
    net.server.wait(WITHIN + 2)
    assert "Traceback" not in net.server.log
    assert net.left_behind() == []


def test_a_second_signal_changes_nothing(tunnel):
    net = tunnel().up()
    for number in SIGNALS * 3:
        net.client.signal(number)
    assert net.client.wait(WITHIN) == 0
    assert "Traceback" not in net.client.log


def test_standard_streams_that_are_closed_do_not_stop_it(tunnel):
    net = tunnel()
    net.remember()
    child = net.server_ns.spawn(
        sys.executable, "-c",
        "import os,sys; os.close(2); os.close(1); os.execv(sys.argv[1], sys.argv[1:])",
        sys.executable, "-m", "vpnrs_core", "run", str(net.server.config),
        env={"VPNRS_RUN_DIR": str(net.run_dir), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    net.server.process = child
    net.server.wait_state("listening")
    ends(net, net.server, signal.SIGTERM)
