"""Round trips through a tunnel, each of them, so that the slowest percent can be told."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from bench.topology import Ends

# Seconds between two of them.
INTERVAL = 0.01
_TIME = re.compile(r"time=([\d.]+) ms")
_LOSS = re.compile(r"([\d.]+)% packet loss")


@dataclass(frozen=True)
class Ping:
    """Round trips in milliseconds, and the part lost in percent."""

    median: float
    mean: float
    p99: float
    lost: float


def parse(text: str) -> Ping:
    """What `ping` printed, one line a reply. Raises RuntimeError when nothing came back."""
    times = sorted(float(found) for found in _TIME.findall(text))
    loss = _LOSS.search(text)
    if not times or loss is None:
        raise RuntimeError(f"ping: {' '.join(text.split())[-200:]}")
    return Ping(median(times), fmean(times), percentile(times, 99), float(loss[1]))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank: the smallest value that `percent` of all are not above."""
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def start(ends: Ends, target: str, seconds: float) -> subprocess.Popen[str]:
    """Pings for about that long, at least five."""
    return ends.client.spawn(
        "ping", "-i", str(INTERVAL), "-W", "2", "-c", str(max(int(seconds / INTERVAL), 5)), target,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> Ping:
    return parse(process.communicate(timeout=90)[0])


def reachable(ends: Ends, target: str) -> bool:
    """Whether one ping comes back within a second."""
    return ends.client.run("ping", "-c", "1", "-W", "1", target, check=False).returncode == 0
