"""The turns as one table for people: medians of each peer, and ratios to today's wireguard-go with their spread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from bench import congestion
from bench.figures import AIOQUIC, FIGURES, QH3, RIVAL, Spread, Turn, of, ratio

_SHOWN = (QH3, AIOQUIC)


def peers_of(turns: Sequence[Turn]) -> list[str]:
    """All that are in a turn, in the order in which they were measured first."""
    return list(dict.fromkeys(name for turn in turns for name in turn))


def rows(turns: Sequence[Turn]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Label, a median for each peer, a ratio for each engine of vpnrs; figures that nobody has are left out."""
    peers = peers_of(turns)
    for figure in FIGURES:
        found = [of(turns, peer, figure.key) for peer in peers]
        if any(found):
            values = ["–" if one is None else number(one.median, figure.digits) for one in found]
            yield figure.label, values, [in_words(ratio(turns, peer, figure.key)) for peer in ratios_of(turns)]


def ratios_of(turns: Sequence[Turn]) -> list[str]:
    """The peers whose ratios are shown: vpnrs, where there is something to divide by."""
    peers = peers_of(turns)
    return [peer for peer in _SHOWN if peer in peers and RIVAL in peers]


def as_table(section: Mapping[str, Any]) -> Table:
    turns = section["turns"]
    table = Table(title=f"medians of {len(turns)} interleaved turns, ratios to {RIVAL}, turn by turn (min–max)")
    table.add_column("")
    for name in peers_of(turns):
        table.add_column(name, justify="right", style="bold" if name == QH3 else None)
    for name in ratios_of(turns):
        table.add_column(f"{name} ÷", justify="right")
    versions = section["peers"]
    table.add_row("", *(versions[name] for name in peers_of(turns)), *("" for _ in ratios_of(turns)), style="dim")
    for label, values, shown in rows(turns):
        table.add_row(label, *values, *shown)
    return table


def congestion_rows(turns: Sequence[Turn]) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Path, inner controller, Mbit/s for each peer, a ratio for each engine of vpnrs."""
    for path in congestion.PATHS:
        for control in congestion.CONTROLS:
            found = [of(turns, peer, congestion.key(path, control)) for peer in peers_of(turns)]
            if any(found):
                values = ["–" if one is None else number(one.median, 0) for one in found]
                ratios = [ratio(turns, peer, congestion.key(path, control)) for peer in ratios_of(turns)]
                yield path, control, values, list(map(in_words, ratios))


def congestion_table(section: Mapping[str, Any]) -> Table:
    turns = section["turns"]
    table = Table(title=f"one TCP stream up through the relay, Mbit/s, ratios to {RIVAL}, turn by turn (min–max)")
    for name in ("path", "inner"):
        table.add_column(name)
    for name in (*peers_of(turns), *(f"{peer} ÷" for peer in ratios_of(turns))):
        table.add_column(name, justify="right")
    for path, control, values, ratios in congestion_rows(turns):
        table.add_row(path, control, *values, *ratios)
    return table


CLIENTS_HEADER = (
    "engine",
    "way",
    "inner",
    "clients",
    "Mbit/s, all",
    "Jain's index",
    "least–most",
    "server CPU, %",
    "CPU s/GB",
)


def clients_rows(section: Mapping[str, Any]) -> Iterator[list[str]]:
    for row in section["rows"]:
        yield [
            row["engine"],
            row["way"],
            row["inner"],
            str(row["clients"]),
            number(row["mbit"], 0),
            f"{row['jain']:.3f}",
            f"{row['least']:,.1f}–{row['most']:,.1f}",
            number(row["server_cpu_percent"], 0),
            number(row["server_cpu_s_per_gb"], 1),
        ]


def clients_table(section: Mapping[str, Any]) -> Table:
    table = Table(*CLIENTS_HEADER, title="one server process and many busy clients, one TCP stream each")
    for row in clients_rows(section):
        table.add_row(*row)
    return table


def profile_rows(section: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: percent of the time that each end was not waiting, the largest of the first engine first."""
    ends = [(engine, role, found) for engine, roles in section["shares"].items() for role, found in roles.items()]
    names = list(dict.fromkeys(name for _, _, found in ends for name in found))
    header = ["", *(f"{engine}, {'sends' if role == 'client' else 'receives'}" for engine, role, _ in ends)]
    return header, [[name, *(f"{found.get(name, 0):.0f} %" for _, _, found in ends)] for name in names]


def profile_table(section: Mapping[str, Any]) -> Table:
    header, rows_ = profile_rows(section)
    table = Table(*header, title="where the time goes, one TCP stream")
    for row in rows_:
        table.add_row(*row)
    return table


def number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def in_words(spread: Spread | None) -> str:
    """ "1.12 (1.08–1.20)"; of a single turn just the value."""
    if spread is None:
        return "–"
    if spread.turns == 1:
        return f"{spread.median:.2f}"
    return f"{spread.median:.2f} ({spread.low:.2f}–{spread.high:.2f})"
