"""Draws the panels of the dashboard from what a real Prometheus answered during a soak.

VPNRS_SOAK_KEEP=panels.json make soak, then: python docs/plots.py panels.json docs/images (needs the extra `plots`)."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

ROWS, COLUMNS = 3, 3
MOST_LINES = 8
# Grafana's units → (what a value is multiplied by, what stands at the axis).
UNITS = {
    "bps": (1e-6, "Mbit/s"),
    "pps": (1, "packets/s"),
    "ops": (1, "a second"),
    "bytes": (2**-20, "MiB"),
    "percentunit": (100, "%"),
    "s": (1, "s"),
    "none": (1, ""),
}


def main(source: str, folder: str) -> None:
    panels = [item for item in json.loads(Path(source).read_text()).items() if _lines(item[1])]
    per_page = ROWS * COLUMNS
    Path(folder).mkdir(exist_ok=True)
    for page in range(math.ceil(len(panels) / per_page)):
        figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(15, 10), constrained_layout=True)
        shown = panels[page * per_page : (page + 1) * per_page]
        for axis, (title, queries) in zip(axes.flat, shown, strict=False):
            draw(axis, title, queries)
        for axis in list(axes.flat)[len(shown) :]:
            axis.axis("off")
        figure.savefig(Path(folder) / f"dashboard-{page + 1}.png", dpi=75)
        plt.close(figure)


def draw(axis: Any, title: str, queries: list[dict[str, Any]]) -> None:
    """One panel: the lines with the largest values, times in seconds since the first one."""
    factor, label = UNITS[queries[0]["unit"]]
    lines = sorted(_lines(queries), key=lambda line: -max(value for _, value in line[1]))[:MOST_LINES]
    began = min(points[0][0] for _, points in lines)
    for name, points in lines:
        axis.plot([at - began for at, _ in points], [value * factor for _, value in points], label=name, linewidth=1)
    axis.set_title(title, fontsize=10)
    axis.set_ylabel(label, fontsize=8)
    axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=6, loc="upper left")
    axis.grid(alpha=0.3)


def _lines(queries: list[dict[str, Any]]) -> list[tuple[str, list[tuple[float, float]]]]:
    found = []
    for query in queries:
        for series in query["data"]:
            points = [(at, float(value)) for at, value in series["values"] if math.isfinite(float(value))]
            if points:
                found.append((_legend(query["legend"], series["metric"]), points))
    return found


def _legend(template: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    return template


if __name__ == "__main__":
    main(*sys.argv[1:3])
