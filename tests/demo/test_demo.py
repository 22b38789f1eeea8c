"""`vpnrs demo` as a user runs it, and how it fails."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vpnrs_core.demo import report as reports
from vpnrs_core.demo import story, translated
from vpnrs_core.demo.interrupts import Interrupts
from vpnrs_core.demo.report import DemoReport, DemoStep
from vpnrs_core.demo.requirements import require
from vpnrs_core.demo.show import results
from vpnrs_core.engine.status import InstanceStatus
from vpnrs_core.errors import HostError
from vpnrs_core.host import namespace

COMMAND = [sys.executable, "-m", "vpnrs_core", "demo"]
NAT64 = slice(10, 13)
STEPS = [
    "make five network namespaces",
    "vpnrs init",
    "vpnrs run server.toml",
    "vpnrs run client.toml",
    "ping through the tunnel, IPv4",
    "ping through the tunnel, IPv6",
    "TCP client to server",
    "TCP server to client",
    "host behind the server, IPv4",
    "host behind the server, IPv6",
    "vpnrs run: an IPv6-only server with NAT64",
    "vpnrs run: its IPv6-only client",
    "page from an IPv4-only host to it, over HTTP",
    "vpnrs status",
    "vpnrs stop",
    "clean up",
]


class Watcher:
    """story.Display that keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def started(self, step: str) -> None:
        pass

    def finished(self, step: DemoStep) -> None:
        self.shown.append(step)

    def measured(self, report: DemoReport) -> None:
        self.shown.append(report)

    def status(self, status: InstanceStatus) -> None:
        self.shown.append(status)


@pytest.fixture
def clean(netns: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where demos put their folders; in the end no demo of this test has left anything."""
    # Longer than the path of a socket may be.
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(story, "_STREAM_SECONDS", 0.3)
    suffixes: list[str] = []
    of = story.secrets.token_hex

    def remembered(count: int) -> str:
        suffixes.append(of(count))
        return suffixes[-1]

    monkeypatch.setattr(story.secrets, "token_hex", remembered)
    yield folder
    assert list(folder.iterdir()) == []
    for suffix in suffixes:
        assert not Path("/run", f"vpnrs-demo-{suffix}").exists()
        assert list(namespace.DIRECTORY.glob(f"vpnrs-demo-{suffix}-*")) == []


def demos(folder: Path) -> list[str]:
    """Suffixes of the demos whose folders are in `folder`."""
    return [path.name.removeprefix("vpnrs-demo-") for path in folder.glob("vpnrs-demo-*")]


def mentioned(word: str) -> list[str]:
    """Command lines of running processes that have it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in text and int(path.parent.name) != os.getpid():
            found.append(text)
    return found


@pytest.mark.netns
def test_two_at_once_show_everything_and_leave_nothing(clean: Path) -> None:
    both = [
        subprocess.Popen([*COMMAND, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=90) for process in both]
    for process, (out, progress) in zip(both, said, strict=True):
        report = json.loads(out)
        assert (process.returncode, report["ok"]) == (0, True), out
        assert [step["name"] for step in report["steps"]] == STEPS
        assert all(set(step) == {"name", "ok", "seconds"} and step["ok"] for step in report["steps"])
        assert [line[16:] for line in progress.splitlines()] == STEPS
        assert 1 < report["handshake_ms"] < 5000
        assert set(report["ping_ms"]) == {"v4", "v6"}
        assert all(0 < value < 1000 for value in report["ping_ms"].values())
        assert set(report["tcp_mbit"]) == {"up", "down"}
        assert all(value > 5 for value in report["tcp_mbit"].values())
        assert report["behind_server_bytes"] == 4 * story._ECHO_BYTES
        page = report["nat64"]
        assert page["url"].startswith("http://[64:ff9b:1::cb00:7102]:")
        assert page["client"].startswith("fd")
        assert (page["seen_from"], page["bytes"]) == ("10.64.0.1", translated._PAGE_BYTES)
        assert 0 < page["ms"] < 5000
        assert report["engine"] == "aioquic"
        assert "auth_token" in report["plugins"]
        assert report["left_behind"] == []
    assert mentioned(str(clean)) == []


@pytest.mark.netns
def test_people_get_a_table_and_both_statuses(clean: Path) -> None:
    ran = subprocess.run(COMMAND, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for words in (
        "Mbit/s",
        "16.0 MiB",
        "1.0 MiB in ",
        "vpnrs status: the server",
        "vpnrs status: the client",
        "1 active, 0 parked",
    ):
        assert words in ran.stdout
    assert ran.stdout.endswith("nothing is left: no process, interface, route, namespace or file.\n")


@pytest.mark.netns
@pytest.mark.parametrize(
    ("number", "after"), [(signal.SIGINT, "vpnrs init"), (signal.SIGTERM, "ping through the tunnel, IPv6")]
)
def test_a_signal_in_the_middle_cleans_up(clean: Path, number: signal.Signals, after: str) -> None:
    with subprocess.Popen([*COMMAND, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rstrip().endswith(after):
                break
        [suffix] = demos(clean)
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    report = json.loads(out)
    assert process.returncode == 128 + number
    assert (report["ok"], report["left_behind"]) == (False, [])
    assert report["steps"][-1]["name"] == "clean up"
    assert report["steps"][-2]["error"] == f"interrupted by {number.name}"
    assert not Path("/run", f"vpnrs-demo-{suffix}").exists()
    assert list(namespace.DIRECTORY.glob(f"vpnrs-demo-{suffix}-*")) == []
    assert mentioned(suffix) == []


@pytest.mark.netns
def test_both_sides_end_when_the_demo_is_killed(clean: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rstrip().endswith("vpnrs run client.toml"):
                break
        [suffix] = demos(clean)
        assert len(mentioned(suffix)) == 4, "both, and the guard of each"
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while mentioned(suffix) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mentioned(suffix) == []
    # Names and files need somebody who lives.
    for path in namespace.DIRECTORY.glob(f"vpnrs-demo-{suffix}-*"):
        namespace.delete(path.name)
    for folder in (clean, Path("/run")):
        shutil.rmtree(folder / f"vpnrs-demo-{suffix}")


@pytest.mark.netns
def test_a_side_that_does_not_start_is_told_and_cleaned_up(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "BEHIND_NETWORKS", ("198.51.100.1/24",))
    report = story.Demo(Watcher(), Interrupts()).run()
    assert [step.name for step in report.steps] == [*STEPS[:3], "clean up"]
    assert not report.ok
    assert report.left_behind == []
    assert report.steps[2].error is not None
    assert "exit code 2" in report.steps[2].error
    assert "198.51.100.1/24" in report.steps[2].error


@pytest.mark.netns
def test_what_is_left_is_found_and_removed(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(story.Demo):
        def _stop(self) -> None:
            super()._stop()
            with namespace.entered(self.network.names["server"]):
                subprocess.run(["ip", "route", "add", "10.9.0.0/16", "dev", "lo"], check=True)
                self.child = subprocess.Popen(["sleep", "1000"])
            (self._runs / "server").mkdir()

    # As on a host without the plugin.
    monkeypatch.setattr(translated, "discover", dict)
    demo = Forgetful(Watcher(), Interrupts())
    report = demo.run()
    assert not report.ok
    assert report.nat64 is None
    assert [step.name for step in report.steps] == [name for name in STEPS if name not in STEPS[NAT64]]
    assert [step.name for step in report.steps if not step.ok] == ["clean up"]
    assert report.left_behind == [
        f"process {demo.child.pid} in {demo.network.names['server']}",
        "in server: left: route 10.9.0.0/16 via None on lo, table 254",
        "run directory server",
    ]
    assert demo.child.wait(5) == -signal.SIGTERM


@pytest.mark.netns
def test_one_measurement_that_fails_leaves_the_others(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(*_: Any) -> float:
        raise TimeoutError("timed out")

    monkeypatch.setattr(story.traffic, "ping", deaf)
    # An address of the server's host, which the plugin refuses.
    monkeypatch.setattr(translated, "_SOURCE", "203.0.113.1")
    watcher = Watcher()
    report = story.Demo(watcher, Interrupts()).run()
    assert [step.name for step in report.steps if not step.ok] == [*STEPS[4:6], STEPS[NAT64][0]]
    assert not {*STEPS[NAT64][1:]} & {step.name for step in report.steps}
    assert (report.ok, report.left_behind, report.ping_ms.v4) == (False, [], None)
    assert report.tcp_mbit.up is not None
    assert [status.role for status in watcher.shown if isinstance(status, InstanceStatus)] == ["server", "client"]


@pytest.mark.parametrize("arguments", [[], ["--json"]])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a capability to give up")
def test_a_missing_privilege_is_one_line(arguments: list[str]) -> None:
    libc = ctypes.CDLL(None)
    ran = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=30, preexec_fn=lambda: libc.prctl(24, 21)
    )
    assert ran.returncode == 4
    assert ran.stderr.startswith("vpnrs: the demo makes network namespaces, which takes CAP_SYS_ADMIN: ")
    assert ran.stderr.count("\n") == 1
    if arguments:
        [step] = json.loads(ran.stdout)["steps"]
        assert f"vpnrs: {step['error']}\n" == ran.stderr
    else:
        assert ran.stdout == ""


def test_a_host_without_tun_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="modprobe tun"):
        require("CapEff:\t000001ffffffffff\n", str(tmp_path / "tun"))


def test_all_missing_privileges_are_named() -> None:
    with pytest.raises(HostError, match="takes CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN: "):
        require("CapEff:\t0000000000000000\n")


def test_a_value_that_was_not_measured_is_a_dash() -> None:
    cells = list(results(DemoReport(handshake_ms=12.5)).columns[1].cells)
    assert cells == ["12.5 ms", "–", "–", "–", "–", "0 B", "–"]


def test_every_field_is_documented() -> None:
    text = Path(__file__).parents[2].joinpath("docs", "demo.md").read_text()
    for model in (DemoReport, reports.PingTimes, reports.TcpRates, reports.Nat64Page, DemoStep):
        section = text.split(f"### {model.__name__}\n")[1].split("\n#")[0]
        for name, field in model.model_fields.items():
            assert any(
                row.startswith(f"| `{name}` |") and row.endswith(f"| {field.description} |")
                for row in section.splitlines()
            ), f"docs/demo.md: {model.__name__}.{name} is missing or says something else"
