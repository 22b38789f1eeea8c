"""The demo, step by step: build, run, measure, show, stop, and look for what is left."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, Final, Protocol

from vpnrs_core.config.load import load
from vpnrs_core.config.models import ServerConfig
from vpnrs_core.demo import traffic
from vpnrs_core.demo.commands import Runner, RunningInstance
from vpnrs_core.demo.interrupts import Interrupted, Interrupts
from vpnrs_core.demo.network import BEHIND, BEHIND_HOSTS, BEHIND_NETWORKS, CLIENT, SERVER, SERVER_UNDERLAY, Network
from vpnrs_core.demo.report import DemoReport, DemoStep
from vpnrs_core.demo.translated import Translated, is_installed
from vpnrs_core.engine.status import InstanceStatus
from vpnrs_core.errors import PeerError, VpnrsError

PORT: Final = 4433
# Seconds that a side may take to start, and to connect.
_START_LIMIT: Final = 15.0
_PINGS: Final = 20
_PING_PAUSE: Final = 0.02
_STREAM_SECONDS: Final = 3.0
_ECHO_BYTES: Final = 4 * 1024 * 1024

Action = Callable[[], None]


class Display(Protocol):
    """Who watches. Called in the order of the story."""

    def started(self, step: str) -> None: ...
    def finished(self, step: DemoStep) -> None: ...
    def measured(self, report: DemoReport) -> None: ...
    def status(self, status: InstanceStatus) -> None: ...


class Demo:
    """One run: `run` does all of it, whatever happens, and returns the report."""

    def __init__(self, display: Display, interrupts: Interrupts) -> None:
        suffix = secrets.token_hex(3)
        self.report = DemoReport()
        self.folder = Path(tempfile.gettempdir(), f"vpnrs-demo-{suffix}")
        self.network = Network(suffix)
        self._display, self._interrupts = display, interrupts
        self._pair = self.folder / "pair"
        # Not below `folder`: the path of a local socket has at most 107 bytes (unix(7)), and TMPDIR may be long.
        self._runs = Path("/run", f"vpnrs-demo-{suffix}")
        self._runner = Runner(self._runs, interrupts)
        # (namespace's label, instance's name, the process), in the order of their starts.
        self._running: list[tuple[str, str, RunningInstance]] = []
        self._stopped = False
        self._server_addresses: dict[int, str] = {}
        self._client_addresses: frozenset[str] = frozenset()

    def run(self) -> DemoReport:
        try:
            self._play()
        except Interrupted as signal:
            self._record_interruption(signal)
        finally:
            self._interrupts.hold()
            self._attempt("clean up", self._clean_up)
        report = self.report
        report.ok = all(step.ok for step in report.steps) and not report.left_behind and not self._interrupts.received
        return report

    def _record_interruption(self, signal: Interrupted) -> None:
        """It has met a step, which has recorded it, or the moment between two."""
        if not any(step.error == str(signal) for step in self.report.steps):
            self.report.steps.append(DemoStep(name="the next step", ok=False, seconds=0.0, error=str(signal)))

    def _play(self) -> None:
        build: list[tuple[str, Action]] = [
            ("make five network namespaces", self._build),
            ("vpnrs init", self._init),
            ("vpnrs run server.toml", self._serve),
            ("vpnrs run client.toml", self._connect),
        ]
        measure: list[tuple[str, Action]] = [
            ("ping through the tunnel, IPv4", lambda: self._ping(4)),
            ("ping through the tunnel, IPv6", lambda: self._ping(6)),
            ("TCP client to server", self._up),
            ("TCP server to client", self._down),
            ("host behind the server, IPv4", lambda: self._behind(4)),
            ("host behind the server, IPv6", lambda: self._behind(6)),
        ]
        # Nothing can be measured without the tunnel; but one measurement says nothing about the next.
        if not all(self._attempt(name, action) for name, action in build):
            return
        for name, action in measure:
            self._attempt(name, action)
        self._translate()
        self._display.measured(self.report)
        self._attempt("vpnrs status", self._status)
        self._attempt("vpnrs stop", self._stop)

    def _translate(self) -> None:
        """The second tunnel, as far as it comes; the first one stands meanwhile."""
        if not is_installed():
            return
        chapter = Translated(self.network, self._runner, self.folder, self.report, self._start)
        all(self._attempt(name, action) for name, action in chapter.steps())

    def _attempt(self, name: str, action: Action) -> bool:
        """Do one step and record it. What a signal interrupts is recorded, and the signal goes on."""
        self._display.started(name)
        started = time.monotonic()
        error: str | None = None
        try:
            self._interrupts.check()
            action()
        except Exception as failure:
            expected = isinstance(failure, (VpnrsError, OSError, subprocess.SubprocessError))
            error = str(failure) if expected else f"{type(failure).__name__}: {failure}"
        except BaseException as failure:
            error = str(failure) or type(failure).__name__
            raise
        finally:
            seconds = round(time.monotonic() - started, 3)
            step = DemoStep(name=name, ok=error is None, seconds=seconds, error=error)
            self.report.steps.append(step)
            self._display.finished(step)
        return error is None

    # Build

    def _build(self) -> None:
        self.folder.mkdir(mode=0o700)
        self._runs.mkdir(mode=0o700)
        self.network.build()

    def _init(self) -> None:
        where = f"{SERVER_UNDERLAY}:{PORT}"
        self._runner.run(self.network.names[SERVER], "init", str(self._pair), "--listen", where, "--server", where)
        configuration = load(self._pair / "server.toml")
        assert isinstance(configuration, ServerConfig)
        # The server has the first host of each pool.
        for pool in (configuration.addresses.ipv4, configuration.addresses.ipv6):
            if pool is not None:
                self._server_addresses[pool.version] = str(pool[1])

    def _serve(self) -> None:
        routes = f"session.routes={json.dumps(BEHIND_NETWORKS)}"
        config = self._pair / "server.toml"
        self._start(SERVER, config, "instance_started", "--set", routes, "--set", "forwarding.enable=true")

    def _connect(self) -> None:
        connected = self._start(CLIENT, self._pair / "client.toml", "connected")
        self.report.handshake_ms = round(connected["handshake_seconds"] * 1000, 1)
        self._client_addresses = frozenset(str(ip_interface(text).ip) for text in connected["addresses"])

    def _start(self, label: str, config: Path, until: str, *options: str) -> dict[str, Any]:
        """`vpnrs run` in a namespace; the configuration says the instance's name → the log line of the event `until`,
        which says that it runs."""
        name = load(config).instance
        log = self.folder / f"{name}.log"
        instance = self._runner.start(self.network.names[label], log, str(config), *options)
        line = instance.wait_for(until, _START_LIMIT)
        self._running.append((label, name, instance))
        return line

    # Measure

    def _ping(self, version: int) -> None:
        address = self._server_addresses[version]
        mean = round(traffic.ping(self.network.names[CLIENT], address, _PINGS, _PING_PAUSE), 2)
        setattr(self.report.ping_ms, f"v{version}", mean)

    def _up(self) -> None:
        self.report.tcp_mbit.up = self._stream(up=True)

    def _down(self) -> None:
        self.report.tcp_mbit.down = self._stream(up=False)

    def _stream(self, up: bool) -> float:
        names = self.network.names
        with traffic.connected(names[CLIENT], names[SERVER], self._server_addresses[4]) as (client, server):
            ends = (client, server) if up else (server, client)
            return round(traffic.stream(*ends, _STREAM_SECONDS), 1)

    def _behind(self, version: int) -> None:
        names = self.network.names
        moved, seen = traffic.echo(names[CLIENT], names[BEHIND], BEHIND_HOSTS[version], _ECHO_BYTES)
        if seen not in self._client_addresses:
            raise PeerError(f"the host behind saw {seen}, which is not the client's address in the tunnel")
        self.report.behind_server_bytes += moved

    # Show, stop, look

    def _status(self) -> None:
        shown = {}
        for side in (SERVER, CLIENT):
            answer = self._runner.run(self.network.names[side], "status", "--json", "--instance", side)
            shown[side] = InstanceStatus.model_validate_json(answer)
        self.report.engine = shown[CLIENT].engine
        loaded = [{plugin.name: None for plugin in status.plugins} for status in shown.values()]
        self.report.plugins = [name for name in loaded[0] if name in loaded[1]]
        for status in shown.values():
            self._display.status(status)

    def _stop(self) -> None:
        """The last one started is the first to end, so that clients say goodbye to their servers."""
        for label, name, instance in reversed(self._running):
            self._runner.run(self.network.names[label], "stop", "--instance", name)
            instance.wait_stopped()
        self._stopped = True

    def _clean_up(self) -> None:
        """End and remove everything, then list what has stayed: first what vpnrs owed, then what the demo made."""
        looks: list[Callable[[], list[str]]] = [
            self._runner.end_all,
            self._strays,
            self.network.end_processes,
            lambda: [f"in {change}" for change in self.network.changes()],
            lambda: [f"run directory {path.relative_to(self._runs)}" for path in _entries(self._runs)],
            self.network.close,
            self._remove_folders,
        ]
        for look in looks:
            try:
                self.report.left_behind += look()
            except Exception as error:  # whatever it is, the rest must be cleaned up
                self.report.left_behind.append(f"unknown: {type(error).__name__}: {error}")
        if self.report.left_behind:
            raise PeerError(f"left behind: {'; '.join(self.report.left_behind)}")

    def _strays(self) -> list[str]:
        """Processes that outlived `vpnrs stop`. Before it, what runs is only what was being done."""
        running = self.network.processes() if self._stopped else []
        return [f"process {pid} in {self.network.names[label]}" for label, pid in running]

    def _remove_folders(self) -> list[str]:
        for folder in (self.folder, self._runs):
            shutil.rmtree(folder, ignore_errors=True)
        return [f"folder {folder}" for folder in (self.folder, self._runs) if folder.exists()]


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*")) if folder.is_dir() else []
