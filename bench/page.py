"""Writes docs/performance.md, its data and its plots from what was measured: `python -m bench.page [RESULTS]`.

The page is a function of docs/performance.json alone: a test holds the committed page to the committed data."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import congestion, nat64_page
from bench.figures import FIGURES, QH3, RIVAL, TARGETS, Target, Turn, of, ratio
from bench.record import LATEST, ROOT, SCHEMA, Record
from bench.table import (
    CLIENTS_HEADER,
    clients_rows,
    congestion_rows,
    in_words,
    number,
    peers_of,
    profile_rows,
    ratios_of,
    rows,
)

PAGE = ROOT / "docs" / "performance.md"
DATA = ROOT / "docs" / "performance.json"
IMAGES = ROOT / "docs" / "img"
TEXT = Path(__file__).with_name("page.md")
BARE = "bare loop"
_IMAGE = re.compile(r"!\[.*\]\(img/([\w-]+\.svg)\)")


def page(sections: Mapping[str, Any], template: str) -> str:
    """The template with each `{{name}}` line replaced by what was measured; a section that is missing says so."""
    makers = {
        "about": _about,
        "table": _table,
        "targets": _targets,
        "yardstick": _yardstick,
        "congestion": _congestion,
        "clients": _clients,
        "profile": _profile,
        "nat64": _nat64,
    }
    lines = []
    for line in template.splitlines():
        if (image := _IMAGE.fullmatch(line)) and not (IMAGES / image[1]).exists():
            continue  # of a figure that was not measured
        name = line.removeprefix("{{").removesuffix("}}")
        if line == f"{{{{{name}}}}}":
            section = sections.get("table" if name in ("about", "targets", "yardstick") else name)
            lines += makers[name](section) if section else ["*Not measured.*"]
            if section and name in ("congestion", "clients", "profile", "nat64"):
                lines += ["", f"Measured on {section['at'][:10]} at commit {section['commit'] or 'unknown'}."]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|---" + "|---:" * (len(header) - 1) + "|"
    for row in body:
        yield f"| {' | '.join(row)} |"


def _about(section: Mapping[str, Any]) -> Iterator[str]:
    host = section["host"]
    yield (
        f"{len(section['turns'])} turns on {section['at'][:10]}, commit {section['commit'] or 'unknown'}, "
        f"{host['cores']} cores ({host['cpu']}), Linux {host['kernel']}, Python {host['python']}, "
        f"{section['options']['seconds']:g} s a stream, TCP with {host['tcp']}."
    )
    yield ""
    for name in peers_of(section["turns"]):
        yield f"- {name}: {section['peers'][name]}"
    for failure in section["failures"]:
        yield f"- failed: {failure[:200]}"


def _table(section: Mapping[str, Any]) -> Iterator[str]:
    turns = section["turns"]
    peers = [name for name in peers_of(turns) if name != BARE]
    kept = [{name: turn[name] for name in peers if name in turn} for turn in turns]
    body = list(rows(kept))
    yield from _markdown(["median", *peers], [[label, *values] for label, values, _ in body])
    yield ""
    yield from _markdown(
        [f"ratio to {RIVAL}", *ratios_of(turns)], [[label, *found] for label, _, found in body if set(found) != {"–"}]
    )


def _targets(section: Mapping[str, Any]) -> Iterator[str]:
    body = []
    for target in TARGETS:
        found, met = target.measured(section["turns"]), target.met(section["turns"])
        sign = "≥" if target.figure.more else "≤"
        limit = f"{target.limit:g}" if target.absolute else f"{target.limit:g} ×"
        shown = "–" if found is None else _shown(target, found.median) if target.absolute else in_words(found)
        verdict = {True: "met", False: "**not met**", None: "not measured"}[met]
        body.append([f"{target.peer}: {target.figure.label}", f"{sign} {limit}", shown, verdict])
    yield from _markdown(["target", "", "measured", ""], body)


def _shown(target: Target, value: float) -> str:
    return number(value, target.figure.digits)


def _yardstick(section: Mapping[str, Any]) -> Iterator[str]:
    turns: Sequence[Turn] = section["turns"]
    if BARE not in peers_of(turns):
        yield "*The bare loop was not measured in these turns.*"
        return
    keys = ("tcp_{}_mbit", "tcp4_{}_mbit", "udp1200_{}_pps", "ping_{}_mean_ms", "cpu_s_per_gb_{}")
    body = []
    for one in (key.format(way) for key in keys for way in ("up", "down")):
        figure = next(figure for figure in FIGURES if figure.key == one)
        bare, mine = of(turns, BARE, one), of(turns, QH3, one)
        if bare and mine:
            body.append(
                [
                    figure.label,
                    number(bare.median, figure.digits),
                    number(mine.median, figure.digits),
                    in_words(ratio(turns, QH3, one, BARE)),
                    in_words(ratio(turns, BARE, one)),
                ]
            )
    yield from _markdown(["", BARE, QH3, f"{QH3} ÷ {BARE}", f"{BARE} ÷ {RIVAL}"], body)


def _congestion(section: Mapping[str, Any]) -> Iterator[str]:
    turns = section["turns"]
    body = [[path, control, *values, *found] for path, control, values, found in congestion_rows(turns)]
    peers = peers_of(turns)
    yield from _markdown(["path", "inner", *peers, *(f"{peer} ÷" for peer in ratios_of(turns))], body)
    yield ""
    loads = [(path, load) for path in congestion.PATHS if (load := congestion.relay_load(turns, path))]
    busiest = max(loads, key=lambda one: one[1][0], default=None)
    if busiest:
        lost = sum(load[1] for _, load in loads)
        yield (
            f"{len(turns)} turns, medians of Mbit/s. The relay used at most {busiest[1][0]:.0f} % of a core "
            f"({busiest[0]}), and its sockets had no room for {lost:.0f} datagrams."
        )


def _clients(section: Mapping[str, Any]) -> Iterator[str]:
    yield from _markdown(CLIENTS_HEADER, list(clients_rows(section)))


def _profile(section: Mapping[str, Any]) -> Iterator[str]:
    header, body = profile_rows(section)
    yield from _markdown(header, body)


def _nat64(section: Mapping[str, Any]) -> Iterator[str]:
    for header, *body in nat64_page.tables(section):
        yield from _markdown(header, body)
        yield ""
    options = section["options"]
    yield f"Turns: {options['runs']}, of {options['seconds']:g} s a stream, engine {options['engine']}."


def write(sections: Mapping[str, Any]) -> None:
    """Data, plots and page. Raises ImportError without matplotlib."""
    from bench import plots

    for old in IMAGES.glob("*.svg"):
        old.unlink()
    plots.write(sections, IMAGES)
    write_text(sections)


def write_text(sections: Mapping[str, Any]) -> None:
    """Data and page; the plots stay as they are."""
    DATA.write_text(json.dumps({"schema": SCHEMA, "sections": sections}, indent=1) + "\n")
    PAGE.write_text(page(sections, TEXT.read_text()))


def main() -> None:
    """Sections that the results lack are kept as the committed data has them; each says when it was measured."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else LATEST
    kept = Record.load(DATA).sections
    write({**kept, **Record.load(source).sections})


if __name__ == "__main__":
    main()
