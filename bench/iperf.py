"""iperf3 between the two ends: TCP streams and UDP floods, and what its JSON says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.topology import Ends, wait_for
from vpnrs_core.testkit.netns import Namespace

PORT = 5201
UP: Sequence[str] = ()
DOWN: Sequence[str] = ("--reverse",)
WAYS: Mapping[str, Sequence[str]] = {"up": UP, "down": DOWN}


@dataclass(frozen=True)
class Tcp:
    """What arrived, all streams together: Mbit/s and bytes; segments sent again."""

    mbit: float
    bytes: int
    retransmits: int


@dataclass(frozen=True)
class Udp:
    """Datagrams a second that arrived, and the part of those sent that did not, in percent."""

    per_second: float
    lost: float


def tcp(report: Mapping[str, Any]) -> Tcp:
    end = _end(report)
    received = end["sum_received"]
    return Tcp(received["bits_per_second"] / 1e6, received["bytes"], end["sum_sent"]["retransmits"])


def udp(report: Mapping[str, Any]) -> Udp:
    """Counted in bytes that the receiver had: iperf3's count of packets is the sender's, and what is missing at the end
    it does not call lost."""
    end = _end(report)
    received, sent = end["sum_received"], end["sum_sent"]["packets"]
    packets = received["bytes"] / report["start"]["test_start"]["blksize"]
    if packets <= 0 or received["seconds"] <= 0:
        raise RuntimeError("iperf3: no datagram arrived")
    return Udp(packets / received["seconds"], 100 * max(0.0, 1 - packets / sent))


def _end(report: Mapping[str, Any]) -> Mapping[str, Any]:
    if "error" in report:
        raise RuntimeError(f"iperf3: {report['error']}")
    end: Mapping[str, Any] = report["end"]
    return end


@contextmanager
def server(namespace: Namespace, port: int = PORT) -> Iterator[None]:
    """One that serves one client, listening."""
    process = namespace.spawn(
        "iperf3", "-s", "-1", "-p", str(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for("the iperf3 server", lambda: f":{port} " in namespace.run("ss", "-Hltn").stdout)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def test(ends: Ends, target: str, seconds: float, *options: str) -> Iterator[Callable[[], Any]]:
    """One test from the client's end, begun → what waits for its end and gives iperf3's report."""
    with server(ends.server):
        process = ends.client.spawn(*command(target, seconds, *options), stdout=subprocess.PIPE, text=True)
        try:
            yield lambda: json.loads(process.communicate(timeout=seconds + 30)[0])
        finally:
            process.kill()
            process.wait(10)


def run(ends: Ends, target: str, seconds: float, *options: str) -> Any:
    """The same with nothing beside it → iperf3's report."""
    with test(ends, target, seconds, *options) as finish:
        return finish()


def command(target: str, seconds: float, *options: str, port: int = PORT) -> list[str]:
    # A whole number where it is one: iperf3's -t takes no fractions in older versions.
    return ["iperf3", "-c", target, "-p", str(port), "-t", f"{seconds:g}", "-J", *options]
