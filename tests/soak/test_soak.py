"""Under load, with clients coming and going: counters agree with the kernel's, nothing is left of who has gone, memory
is flat, and a real Prometheus has data for every panel of the dashboard.

Half a minute in `make test`, two thirds of it under load; `make soak` takes ten minutes (VPNRS_SOAK_SECONDS). One run
serves all of these tests, so they share a worker.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from pathlib import Path

import pytest
from vpnrs_metrics.commands import packaged

from tests.soak import kernel
from tests.soak.prometheus import binary
from tests.soak.world import Soak
from vpnrs_core.testkit.netns import unavailable
from vpnrs_core.testkit.tunnel import TunnelNet

SECONDS = float(os.environ.get("VPNRS_SOAK_SECONDS", "20"))
# Where to keep what Prometheus said of every panel, for docs/plots.py.
KEEP = os.environ.get("VPNRS_SOAK_KEEP")

pytestmark = [pytest.mark.netns, pytest.mark.long, pytest.mark.xdist_group("soak")]


@pytest.fixture(scope="module")
def soak():
    if why := unavailable():
        pytest.skip(why)
    if binary() is None:
        pytest.skip("prometheus is not here; `make test` takes it out of Debian's package")
    if shutil.which("nft") is None:
        pytest.skip("the command nft is missing; `make test` installs it")
    with TunnelNet(clients=3) as net:
        soak = Soak(net)
        try:
            soak.run(SECONDS)
            # What the visitors that were killed left is given back by itself.
            soak.net.server.wait_for("two sessions", lambda status: len(status["server"]["sessions"]) == 2, 60.0)
            yield soak
        except BaseException:
            print("\n".join(f"--- {name}\n{text[-4000:]}" for name, text in net.logs()))
            raise
        soak.close()
        assert not any(net.stop().values())
        assert net.left_behind() == []


@pytest.mark.parametrize("index", [None, 0, 2], ids=["server", "client", "client without offloads"])
def test_every_byte_and_frame_is_counted_as_the_kernel_counted_it(soak, index):
    status, kernels = soak.settled(index)
    udp, tun = status["udp"], status["tun"]
    assert udp["udp_packets_lost"] == udp["udp_packets_too_large"] == 0
    assert (tun["frames_read"], tun["frames_written"]) == (kernels.frames_read, kernels.frames_written)
    assert udp["udp_bytes_out"] == kernels.udp_out
    namespace = soak.net.server_ns if index is None else soak.net.client_ns[index]
    full = kernel.udp_datagrams(namespace)["RcvbufErrors"]  # what did not fit the socket's buffer was never ours
    assert udp["udp_bytes_in"] <= kernels.udp_in
    assert kernels.udp_in - udp["udp_bytes_in"] <= full * 65_000
    assert udp["udp_bytes_in"] == kernels.udp_in or full
    assert kernels.udp_in > 100_000


def test_the_metrics_are_the_same_counts(soak):
    status, kernels = soak.settled(None)
    values = {
        line.split()[0]: float(line.split()[1])
        for line in soak.scrape().splitlines()
        if line and not line.startswith("#")
    }
    assert values["vpnrs_tun_read_bytes_total"] >= kernels.bytes_read
    assert values["vpnrs_tun_written_bytes_total"] >= kernels.bytes_written
    after, moved = soak.settled(None)
    assert values["vpnrs_tun_read_bytes_total"] <= moved.bytes_read
    assert values["vpnrs_tun_written_bytes_total"] <= moved.bytes_written
    for name, path in (("ingress_packets", "ingress"), ("egress_packets", "egress")):
        assert status[path]["packets"] <= values[f"vpnrs_{name}_total"] <= after[path]["packets"]
    assert values["vpnrs_sessions_opened_total"] == status["events"]["session_opened"]


def test_no_packet_is_unaccounted_for(soak):
    """Without offloads a frame is a packet: what the TUN gave was sent, or dropped under a reason, or waits; what came
    was written."""
    for _ in range(20):
        datagrams = kernel.udp_datagrams(soak.net.client_ns[2])
        status, kernels = soak.settled(2)
        if kernel.udp_datagrams(soak.net.client_ns[2]) == datagrams:  # else a heartbeat came in between
            break
    assert status["queue_bytes"] == 0
    assert kernels.frames_read == status["egress"]["packets"] + sum(status["drops"].values())
    assert kernels.frames_written == status["ingress"]["packets"]
    assert status["udp"]["udp_packets_in"] == datagrams["InDatagrams"]
    assert status["udp"]["udp_packets_out"] == datagrams["OutDatagrams"]


def test_both_ends_of_a_link_agree(soak):
    for _ in range(20):
        client, _ = soak.settled(2)
        server, _ = soak.settled(None)
        if (
            soak.net.clients[2].status()["egress"]["packets"] == client["egress"]["packets"]
        ):  # else it sent something in between
            break
    (session,) = [s for s in server["server"]["sessions"] if s["id"] == client["client"]["session"]["id"]]
    lost = client["client"]["session"]["links"][0]["facts"]["packets_lost"]
    sent, arrived = client["egress"]["packets"], session["ingress"]["packets"]
    assert arrived <= sent
    assert arrived == sent or lost


def test_nothing_is_left_of_a_session_that_has_gone(soak):
    assert soak.seen.visits
    present = {session["id"] for session in soak.net.server.status()["server"]["sessions"]}
    gone = soak.seen.sessions - present
    assert gone
    text = soak.scrape()
    assert all(session in text for session in present)
    assert not [session for session in gone if session in text]
    deadline = time.monotonic() + 10
    while True:
        found = {
            sample["metric"]["session"]
            for sample in soak.prometheus.query('{__name__=~"vpnrs_session_.+",job="server"}')
        }
        if found == present:
            break
        assert time.monotonic() < deadline, found - present
        time.sleep(0.2)


def test_memory_is_flat(soak):
    """The mean of the last third and of the one before it: what leaks a little with each packet or visit shows."""
    memory = soak.seen.memory
    third = len(memory) // 3
    middle, last = memory[third : 2 * third], memory[2 * third :]
    growth = sum(last) / len(last) - sum(middle) / len(middle)
    assert growth < 4 << 20, f"{growth / 2**20:.1f} MiB more, of {memory[-1] / 2**20:.1f}"


def test_every_panel_has_data(soak):
    empty, kept = [], {}
    for panel in json.loads(packaged("dashboard.json"))["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "15s").replace("$instance", ".*")
            values = [float(sample["value"][1]) for sample in soak.prometheus.query(query)]
            if not any(math.isfinite(value) for value in values):
                empty.append((panel["title"], query))
            if KEEP:
                kept.setdefault(panel["title"], []).append(
                    {
                        "legend": target["legendFormat"],
                        "unit": panel["fieldConfig"]["defaults"]["unit"],
                        "data": soak.prometheus.range(query, SECONDS + 10, max(1.0, SECONDS / 300)),
                    }
                )
    if KEEP:
        Path(KEEP).write_text(json.dumps(kept))
    assert not empty
