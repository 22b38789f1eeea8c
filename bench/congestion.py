"""What inner TCP makes of a bad path: each tunnel through the test kit's relay, with cubic and with bbr inside."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import iperf, measure
from bench.figures import Turn, spread
from bench.peers import Peer
from bench.process import cpu_seconds
from bench.topology import relayed_path

# The relay's options. Delays and losses are of each way, so the round trip has twice the delay.
PATHS: Mapping[str, Sequence[str]] = {
    "relay alone": (),
    "loss 0.1 %": ("--loss", "0.1"),
    "loss 1 %": ("--loss", "1"),
    "delay 10 ms": ("--delay", "10"),
    "delay 50 ms": ("--delay", "50"),
    "delay 10 ms, loss 0.1 %": ("--delay", "10", "--loss", "0.1"),
    "delay 10 ms, loss 1 %": ("--delay", "10", "--loss", "1"),
    # 5 ms of the rate: a short queue.
    "100 Mbit/s, queue 62 KB": ("--delay", "10", "--rate", "100", "--queue", "62500"),
    "reordering 1 %, 1 ms": ("--reorder", "1", "--reorder-by", "1"),
}
CONTROLS = ("cubic", "bbr")
_AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")

Say = Callable[[str], None]


def controls() -> list[str]:
    """Those that this kernel has."""
    return [name for name in CONTROLS if name in _AVAILABLE.read_text().split()]


def key(path: str, control: str) -> str:
    return f"{path}: {control}"


def turn(
    peers: Sequence[Peer],
    paths: Sequence[str],
    seconds: float,
    section: dict[str, Any],
    save: Callable[[], None],
    say: Say,
) -> bool:
    """One turn over the paths, peers in turn on each, added to the section as it goes → whether nothing failed."""
    made: dict[str, dict[str, float]] = {peer.name: {} for peer in peers}
    section["turns"].append(made)
    good = True
    for name in paths:
        for peer in peers:
            say(f"{name}: {peer.name}")
            try:
                _one(peer, name, seconds, made[peer.name])
            except Exception as error:  # whatever goes wrong with one must not lose the others' figures
                section["failures"].append(f"{name}, {peer.name}: {type(error).__name__}: {error}")
                say(f"  failed: {section['failures'][-1]}")
                good = False
            save()
    return good


def _one(peer: Peer, path: str, seconds: float, figures: dict[str, float]) -> None:
    with relayed_path(peer.port, PATHS[path]) as relayed, peer.tunnel(relayed.ends) as tunnel:
        measure.ready(relayed.ends, tunnel)
        for control in controls():
            used, start = cpu_seconds([relayed.process.pid]), time.monotonic()
            stream = iperf.tcp(iperf.run(relayed.ends, tunnel.target, seconds, "-C", control))
            took = time.monotonic() - start
            name = key(path, control)
            figures[name] = stream.mbit
            figures[f"{name}, retransmits"] = stream.retransmits
            figures[f"{name}, relay CPU"] = 100 * (cpu_seconds([relayed.process.pid]) - used) / took
        figures[f"{path}, relay overflowed"] = relayed.overflowed()


def relay_load(turns: Sequence[Turn], path: str) -> tuple[float, float] | None:
    """The most CPU of one core in percent that the relay used on that path, and the most datagrams that it had no
    room for. None: not measured."""
    cpu = spread([v for turn in turns for p in turn.values() for k, v in p.items() if _is(k, path, ", relay CPU")])
    lost = spread(
        [v for turn in turns for p in turn.values() for k, v in p.items() if k == f"{path}, relay overflowed"]
    )
    return None if cpu is None or lost is None else (cpu.high, lost.high)


def _is(name: str, path: str, what: str) -> bool:
    return any(name == key(path, control) + what for control in CONTROLS)
