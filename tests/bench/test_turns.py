"""A turn: figures are kept part by part, a peer that fails costs only itself, and the path carries what is measured."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import bench.__main__
from bench import measure
from bench.peers import Tunnel
from bench.peers.none import NoTunnel
from bench.peers.vpnrs import Vpnrs
from bench.topology import path, relayed_path
from bench.turns import EVERYTHING, turn

SOCKET = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "


class Broken(NoTunnel):
    name = "broken"

    @contextmanager
    def tunnel(self, ends):
        raise RuntimeError("does not come up")
        yield Tunnel("", ())


class OneHandshake(NoTunnel):
    """Fails in its second part."""

    name = "half"

    def sessions(self, ends, count, hold):
        raise TimeoutError("no answer")


@pytest.mark.netns
def test_a_peer_that_fails_costs_only_itself(monkeypatch):
    monkeypatch.setattr(measure, "_IDLE", 0.3)
    section = {"turns": [], "failures": []}
    saved, said = [], []
    peers = [Broken(), OneHandshake(), NoTunnel()]
    good = turn(
        peers, ("ping", "handshakes"), 2.0, section, lambda: saved.append(len(section["turns"][0])), said.append
    )
    assert not good
    assert section["failures"] == [
        "broken: RuntimeError: does not come up",
        "half: TimeoutError: no answer",
    ]
    assert list(section["turns"][0]) == ["half", "no tunnel"], "what was measured before the failure is kept"
    assert 0 < section["turns"][0]["no tunnel"]["ping_idle_ms"] < 1000
    assert saved == [0, 1, 2]


@pytest.mark.netns
def test_a_stream_over_the_bare_path_has_its_figures():
    with path() as ends, NoTunnel().tunnel(ends) as tunnel:
        measure.ready(ends, tunnel)
        figures = measure.one_stream(ends, tunnel, 1.0)
    assert figures["tcp_up_mbit"] > 10
    assert figures["tcp_down_mbit"] > 10
    assert "cpu_s_per_gb_up" not in figures, "there are no processes to ask"


@pytest.mark.netns
def test_the_relayed_path_leads_through_the_relay():
    """Both ways; the datagram comes back from the relay, and nothing overflows."""
    with relayed_path(4433, ["--delay", "20"]) as relayed:
        ends = relayed.ends
        echo = "s.bind(('10.201.1.2', 4433)); d, a = s.recvfrom(99); s.sendto(d + a[0].encode(), a)"
        ask = "s.settimeout(20); s.sendto(b'hi ', ('10.201.0.2', 4433)); print(s.recv(99))"
        ends.server.spawn("python3", "-c", SOCKET + echo)
        measure.wait_for("the echo", lambda: ":4433 " in ends.server.run("ss", "-Hlun").stdout)
        assert "hi 10.201.1.1" in ends.client.run("python3", "-c", SOCKET + ask).stdout
        assert relayed.overflowed() == 0
    assert relayed.counts["up"]["sent"] == relayed.counts["down"]["sent"] == 1


@pytest.mark.netns
def test_vpnrs_tells_what_it_drops_and_opens_sessions():
    peer = Vpnrs("aioquic")
    with path() as ends, peer.tunnel(ends) as tunnel:
        assert tunnel.dropped() == 0
        assert len(set(tunnel.pids)) == 2
    with path() as ends:
        found = peer.sessions(ends, 3, 0.1)
    assert found.per_second > 0.1
    assert found.missed == 0


def test_every_part_can_be_named():
    assert set(measure.PARTS) < set(EVERYTHING)


HELD = """
import time
from bench.process import end_cleanly
from bench.topology import path
end_cleanly()
with path() as ends:
    print(ends.client.name, ends.server.name, flush=True)
    time.sleep(60)
"""


@pytest.mark.netns
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_measurement_that_is_ended_leaves_nothing(number):
    """`timeout make bench`, a terminal that is closed, a build that is cancelled."""
    with subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True) as process:
        names = process.stdout.readline().split()
        assert len(names) == 2
        assert all(Path("/run/netns", name).exists() for name in names)
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    assert not any(Path("/run/netns", name).exists() for name in names)


@pytest.mark.netns
@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--only", "wireguard-og"], "nothing to measure: choose of no tunnel; "),
        (["congestion", "--paths", "moon"], "nothing to measure: choose of wireguard-go"),
        (["clients", "--only", "no tunnel"], "nothing to measure: --only no tunnel is in no name of vpnrs"),
        (["profile", "--only", "openvpn"], "nothing to measure: --only openvpn is in no name of vpnrs"),
    ],
)
def test_a_name_that_nobody_has_is_an_error_and_touches_no_results(monkeypatch, tmp_path, capsys, arguments, wanted):
    ended = []
    monkeypatch.setattr(bench.__main__, "end_cleanly", lambda: ended.append(True))
    monkeypatch.setattr(bench.profile, "unavailable", lambda: None)
    monkeypatch.setattr(sys, "argv", ["bench", *arguments, "--json", str(tmp_path / "kept.json")])
    assert bench.__main__.main() == 2
    assert wanted in " ".join(capsys.readouterr().err.split())
    assert ended == [True]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_tool_is_named_before_anything_is_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench.__main__, "end_cleanly", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["bench", "--json", str(tmp_path / "kept.json")])
    assert bench.__main__.main() == 4
    assert "missing: iperf3, iputils-ping. `make bench` installs" in " ".join(capsys.readouterr().err.split())
