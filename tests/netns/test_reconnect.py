"""The tunnel comes back: after the server's restarts, after blackouts, through another port of a NAT.

client ── relay ── server
"""

import json
import signal
import subprocess
import time

import pytest

from tests.netns.ends import ends
from vpnrs_core.testkit.tunnel import SERVER4, SERVER6

# A peer that is gone is known soon, and tried again soon.
SOON = {"quic": {"idle_timeout": 4, "keepalive": 1}}
AGAIN = {**SOON, "reconnect": {"min": 0.5, "max": 1, "jitter": 0.1}}


def session(instance):
    status = instance.status()
    return status["client"]["session"] if status["role"] == "client" else status["server"]["sessions"][0]


def ping(net, n=0, count=3):
    for address in (SERVER4, SERVER6):
        net.client_ns[n].run("ping", f"-c{count}", "-i0.2", "-W5", address)


def reconnected(net, patience=20):
    """The status of the client once it has connected for the second time."""
    return net.client.wait_for(
        "connected again",
        lambda s: s["state"] == "connected" and net.client.log.count(" connected ") == 2,
        patience,
    )


def restart(net, how):
    if how == "SIGTERM":
        assert net.server.stop() == 0
    else:
        net.server.kill()
    net.server.start()
    net.server.wait_state("listening")


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_server_that_restarts_gets_its_client_back(tunnel, how):
    net = tunnel()
    net.server.configure(SOON)
    net.client.configure(AGAIN)
    net.up()
    first = session(net.client)["id"]
    restart(net, how)
    status = reconnected(net)
    assert status["client"]["session"]["id"] != first
    assert ("shutting_down" if how == "SIGTERM" else "was lost") in net.client.log
    assert status["client"]["session"]["addresses"] == session(net.server)["addresses"]
    ping(net)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_server_that_restarts_under_load_gets_its_client_back(tunnel, how):
    net = tunnel()
    net.server.configure(SOON)
    net.client.configure(AGAIN)
    net.up()
    net.server_ns.spawn("iperf3", "-s", stdout=subprocess.DEVNULL)
    time.sleep(0.3)  # iperf3 does not say when it listens
    load = net.client_ns[0].spawn("iperf3", "-J", "-c", SERVER4, "-t", "12", stdout=subprocess.PIPE, text=True)
    net.server.wait_for("under load", lambda s: s["server"]["sessions"][0]["ingress"]["bytes"] > 5_000_000)
    restart(net, how)
    reconnected(net)
    ping(net)
    out, _ = load.communicate(timeout=60)
    # It went on over the gap, or says that its connection ended; either way it has carried something.
    assert json.loads(out)["start"]["connected"]
    assert net.client.status()["state"] == "connected"


@pytest.mark.long
def test_forty_seconds_of_blackout_cost_the_connection_and_neither_address_nor_session(tunnel):
    net = tunnel(relay={}).up()
    before = session(net.client)
    net.relays[0].blackout()
    began = time.monotonic()
    net.server.wait_for("parked", lambda s: s["server"]["sessions"][0]["state"] == "parked", 33)
    net.client.wait_for("without a connection", lambda s: s["state"] != "connected", 33 - (time.monotonic() - began))
    assert time.monotonic() - began < 32
    time.sleep(max(0.0, 40 - (time.monotonic() - began)))
    net.relays[0].restore()
    since = time.monotonic()
    status = net.client.wait_for("connected again", lambda s: s["state"] == "connected", 30)
    print(f"dead known, then resumed {time.monotonic() - since:.1f} s after the end of the blackout")
    assert status["client"]["session"]["id"] == before["id"]
    assert status["client"]["session"]["addresses"] == before["addresses"]
    assert net.client.log.count(" session=" + before["id"]) >= 2
    assert "resumed=True" in net.client.log
    ping(net)
    assert len(net.server.status()["server"]["sessions"]) == 1


def test_five_seconds_of_blackout_need_no_new_connection(tunnel):
    net = tunnel(relay={}).up()
    before = session(net.client)
    ping(net, count=1)
    net.relays[0].blackout()
    time.sleep(5)
    net.relays[0].restore()
    net.client_ns[0].run("ping", "-c10", "-i0.5", "-w15", SERVER4)
    assert session(net.client)["id"] == before["id"]
    assert net.client.log.count(" connected ") == 1
    assert net.client.status()["client"]["last_error"] is None


def test_another_port_of_a_nat_costs_nothing(tunnel):
    net = tunnel(relay={}).up()
    ping(net)
    remote = session(net.server)["links"][0]["remote"]
    net.relays[0].rebind()
    ping(net)
    moved = net.server.wait_for("told", lambda s: s["server"]["sessions"][0]["links"][0]["remote"] != remote)
    assert moved["server"]["sessions"][0]["state"] == "active"
    assert net.client.log.count(" connected ") == 1
    assert net.server.log.count("session_opened") == 1
    net.relays[0].rebind()
    # Only the server has something to say now: it must say it to the new port once the client has shown it.
    net.client_ns[0].run("ping", "-c1", "-W5", SERVER4)
    net.server_ns.run("ping", "-c3", "-i0.2", "-W5", net.addresses()[4])
    ends(net, 2)


def test_a_killed_client_is_parked_then_released_and_may_come_again(tunnel):
    net = tunnel()
    net.server.configure({**SOON, "session": {"resume_window": 2}})
    net.up()
    net.client.kill()
    net.server.wait_for("parked", lambda s: s["server"]["sessions"][0]["state"] == "parked", 6)
    gone = net.server.wait_for("rid of it", lambda s: not s["server"]["sessions"], 4)
    assert [pool["leased"] for pool in gone["server"]["pools"]] == [0, 0]
    net.client.start()
    net.client.wait_state("connected")
    ping(net)


def test_a_client_that_leaves_gives_its_address_back_at_once(tunnel):
    net = tunnel().up()
    net.client.signal(signal.SIGINT)
    assert net.client.wait() == 0
    net.server.wait_for("rid of it", lambda s: not s["server"]["sessions"], 1)
    assert [pool["leased"] for pool in net.server.status()["server"]["pools"]] == [0, 0]
