"""One measurement of one tunnel: a TCP stream each way, ping idle and under load, CPU time of its processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bench.peers import Tunnel
from bench.topology import Ends, wait_for

_PORT = 5201
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Pings are this far apart, in seconds.
_INTERVAL = 0.02
_RTT = re.compile(r"= [\d.]+/([\d.]+)/[\d.]+/[\d.]+ ms")
_LOSS = re.compile(r"([\d.]+)% packet loss")


@dataclass(frozen=True)
class Ping:
    """Mean round trip in milliseconds, and the part lost in percent."""

    ms: float
    loss: float


@dataclass(frozen=True)
class Stream:
    """One TCP stream: received Mbit/s, segments sent again, CPU seconds of the tunnel's processes a gigabyte (both
    ends; None without any), and ping while it ran."""

    mbit: float
    retransmits: int
    cpu_per_gb: float | None
    ping: Ping


@dataclass(frozen=True)
class Measured:
    idle: Ping
    up: Stream
    down: Stream


def measure(ends: Ends, tunnel: Tunnel, seconds: float) -> Measured:
    """Raises TimeoutError or RuntimeError when the tunnel does not carry packets."""
    wait_for("the first ping", lambda: reachable(ends, tunnel.target))
    idle = _finish_ping(_start_ping(ends, tunnel.target, 100))
    up = _stream(ends, tunnel, seconds, [])
    return Measured(idle, up, _stream(ends, tunnel, seconds, ["--reverse"]))


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the processes, all threads of each."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as stream:
            fields = stream.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def resident(pid: int) -> int:
    """Resident memory in bytes."""
    with open(f"/proc/{pid}/statm") as stream:
        return int(stream.read().split()[1]) * _PAGE


def _stream(ends: Ends, tunnel: Tunnel, seconds: float, way: list[str]) -> Stream:
    server = ends.server.spawn("iperf3", "-s", "-1", "-p", str(_PORT), stdout=subprocess.DEVNULL)
    try:
        wait_for("the iperf3 server", lambda: _listens(ends))
        # The pings end before the stream does, so that each of them meets it.
        ping = _start_ping(ends, tunnel.target, int((seconds - 0.5) / _INTERVAL))
        before = cpu_seconds(tunnel.pids)
        done = ends.client.run(
            "iperf3", "-c", tunnel.target, "-p", str(_PORT), "-t", str(seconds), "-J", *way,
            check=False, timeout=seconds + 30,
        )  # fmt: skip
        spent = cpu_seconds(tunnel.pids) - before
        report: dict[str, Any] = json.loads(done.stdout)
        if "error" in report:
            raise RuntimeError(f"iperf3: {report['error']}")
        end = report["end"]
        gigabytes = end["sum_received"]["bytes"] / 1e9
        return Stream(
            mbit=end["sum_received"]["bits_per_second"] / 1e6,
            retransmits=end["sum_sent"]["retransmits"],
            cpu_per_gb=spent / gigabytes if tunnel.pids and gigabytes else None,
            ping=_finish_ping(ping),
        )
    finally:
        server.terminate()
        server.wait(10)


def _listens(ends: Ends) -> bool:
    return f":{_PORT} " in ends.server.run("ss", "-Hltn").stdout


def reachable(ends: Ends, target: str) -> bool:
    """Whether one ping comes back within a second."""
    return ends.client.run("ping", "-c", "1", "-W", "1", target, check=False).returncode == 0


def _start_ping(ends: Ends, target: str, count: int) -> subprocess.Popen[str]:
    return ends.client.spawn(
        "ping", "-q", "-i", str(_INTERVAL), "-W", "2", "-c", str(max(count, 5)), target,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _finish_ping(process: subprocess.Popen[str]) -> Ping:
    text = process.communicate(timeout=60)[0]
    rtt, loss = _RTT.search(text), _LOSS.search(text)
    if rtt is None or loss is None:
        raise RuntimeError(f"ping: {' '.join(text.split())}")
    return Ping(float(rtt[1]), float(loss[1]))
