"""What both sides of a real tunnel say of it.

client ── server                      Traffic of a known amount, then one look at each side.
"""

import json

import jsonschema
import pytest

from vpnrs_core.engine.status import json_schema
from vpnrs_core.testkit.tunnel import SERVER4


@pytest.fixture
def net(tunnel):
    return tunnel(clients=1).up()


def test_status_tells_everything_of_session_and_link(net):
    net.client_ns[0].run("ping", "-c", "5", "-i", "0.05", "-s", "1000", SERVER4)
    client, server = net.client.status(), net.server.status()
    for status in (client, server):
        jsonschema.validate(status, json_schema())
        assert status["memory_bytes"] > 10 << 20
        assert status["ingress"]["packets"] >= 5
        assert status["ingress"]["bytes"] >= 5 * 1028
        assert status["tun"]["frames_read"] >= 5
        assert status["udp"]["udp_packets_in"] > 5
        assert status["udp"]["udp_bytes_in"] > status["ingress"]["bytes"]
    (session,) = server["server"]["sessions"]
    assert session["ingress"]["packets"] == client["client"]["session"]["egress"]["packets"]
    assert server["events"]["session_opened"] == client["events"]["connected"] == 1
    for link, far in ((session["links"][0], client), (client["client"]["session"]["links"][0], server)):
        assert link["rtt_ms"] > 0
        assert link["rtt_variation_ms"] > 0
        assert link["handshake_ms"] > 0
        assert (link["engine"], link["congestion_controller"]) in (("aioquic", "cubic"), ("qh3", "cubic"))
        assert link["congestion_window"] > 1000
        assert link["datagram_size"] == 1472  # what a path of 1500 carries, behind IPv4 and UDP
        assert link["loss"] == 0
        assert link["migrations"] == 0
        assert link["payloads_sent"] >= far["ingress"]["packets"]
    assert session["links"][0]["remote"] == client["client"]["session"]["links"][0]["local"].replace(
        "0.0.0.0", "10.200.0.2"
    )


def test_the_log_changes_while_it_runs(net):
    assert net.vpnrs("log", "--instance", net.server.name).strip() == "level info, format human"
    said = net.vpnrs("log", "--instance", net.server.name, "--level", "debug", "--format", "json")
    assert said.strip() == "level debug, format json"
    net.client.stop()
    net.server.wait_for("without the session", lambda status: not status["server"]["sessions"])
    lines = [json.loads(line) for line in net.server.log.splitlines() if line.startswith("{")]
    assert {"session_closed"} <= {line["event"] for line in lines}
