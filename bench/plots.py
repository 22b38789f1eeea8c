"""A plot for each figure of docs/performance.md, as small SVG files; needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench import congestion
from bench.figures import FIGURES, Turn, of
from bench.table import peers_of

# Both ways side by side, one file each; what several figures share is what stands for the way.
GROUPS: Mapping[str, tuple[str, Sequence[str]]] = {
    "tcp": ("TCP, one stream, Mbit/s", ("tcp_up_mbit", "tcp_down_mbit")),
    "tcp4": ("TCP, four streams, Mbit/s", ("tcp4_up_mbit", "tcp4_down_mbit")),
    "udp64": ("UDP, 64 bytes, packets/s", ("udp64_up_pps", "udp64_down_pps")),
    "udp1200": ("UDP, 1,200 bytes, packets/s", ("udp1200_up_pps", "udp1200_down_pps")),
    "ping-idle": ("ping idle, ms", ("ping_idle_ms", "ping_idle_mean_ms", "ping_idle_p99_ms")),
    "ping-load": ("ping under load, mean, ms", ("ping_up_mean_ms", "ping_down_mean_ms")),
    "ping-load-p99": ("ping under load, p99, ms", ("ping_up_p99_ms", "ping_down_p99_ms")),
    "cpu": ("CPU s per GB, both ends", ("cpu_s_per_gb_up", "cpu_s_per_gb_down")),
    "handshakes": ("handshakes a second", ("handshakes_per_s",)),
    "memory": ("server KiB an idle session", ("kib_per_session",)),
}
_LEFT_OUT = ("no tunnel",)
_LABELS = {"up": "up", "down": "down", "ping_idle_ms": "median", "ping_idle_mean_ms": "mean", "ping_idle_p99_ms": "p99"}


def write(sections: Mapping[str, Any], folder: Path) -> list[Path]:
    """One file a figure that was measured → the files."""
    # The same figures give the same bytes: no date, no random ids; text stays text, which keeps the files small.
    mpl.rcParams.update({"svg.hashsalt": "vpnrs", "svg.fonttype": "none", "font.size": 8})
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    turns = sections.get("table", {}).get("turns", [])
    for name, (title, keys) in GROUPS.items():
        if any(of(turns, peer, key) for peer in peers_of(turns) for key in keys):
            made.append(_save(folder / f"{name}.svg", title, lambda axes, keys=keys: _peers(axes, turns, keys)))
    turns = sections.get("congestion", {}).get("turns", [])
    for control in congestion.CONTROLS:
        if turns:
            title = f"TCP ({control}) over bad paths, Mbit/s"
            made.append(
                _save(folder / f"congestion-{control}.svg", title, lambda axes, c=control: _paths(axes, turns, c))
            )
    return made


def _save(path: Path, title: str, draw: Callable[[Any], None]) -> Path:
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    draw(axes)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    return path


def _peers(axes: Any, turns: Sequence[Turn], keys: Sequence[str]) -> None:
    """Bars with the range of the turns, peers below each other."""
    peers = [peer for peer in peers_of(turns) if peer not in _LEFT_OUT and any(of(turns, peer, key) for key in keys)]
    high = 0.8 / len(keys)
    for place, key in enumerate(keys):
        found = [(row, one) for row, peer in enumerate(peers) if (one := of(turns, peer, key))]
        at = [row + place * high - 0.4 + high / 2 for row, _ in found]
        middle = [one.median for _, one in found]
        spans = [[one.median - one.low for _, one in found], [one.high - one.median for _, one in found]]
        axes.barh(at, middle, high * 0.9, xerr=spans, label=_label(key), error_kw={"elinewidth": 0.8})
    axes.set_yticks(range(len(peers)), peers)
    axes.invert_yaxis()
    if len(keys) > 1:
        axes.legend(frameon=False)


def _paths(axes: Any, turns: Sequence[Turn], control: str) -> None:
    peers = peers_of(turns)
    paths = [path for path in congestion.PATHS if any(of(turns, peer, congestion.key(path, control)) for peer in peers)]
    high = 0.8 / len(peers)
    for place, peer in enumerate(peers):
        found = [(row, of(turns, peer, congestion.key(path, control))) for row, path in enumerate(paths)]
        at = [row + place * high - 0.4 + high / 2 for row, one in found if one]
        axes.barh(at, [one.median for _, one in found if one], high * 0.9, label=peer)
    axes.set_yticks(range(len(paths)), paths)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=6)


def _label(key: str) -> str:
    return _LABELS.get(key) or ("up" if "_up" in key else "down" if "_down" in key else "")


assert {key for _, keys in GROUPS.values() for key in keys} <= {figure.key for figure in FIGURES}
