"""Results as one table for people and one object for programs, with ratios to each wireguard-go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rich.table import Table

from bench.measure import Measured
from bench.peers import Sessions


@dataclass
class Results:
    """All runs of one peer. `failures` are of runs that did not end."""

    name: str
    version: str
    measured: list[Measured] = field(default_factory=list)
    sessions: list[Sessions] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One figure: its key in JSON, its label, its decimals, and where it comes from."""

    key: str
    label: str
    digits: int
    of: Callable[[Results], list[float]]


def _of(get: Callable[[Measured], float | None]) -> Callable[[Results], list[float]]:
    return lambda results: [value for one in results.measured if (value := get(one)) is not None]


ROWS: Sequence[Row] = (
    Row("tcp_up_mbit", "TCP up, Mbit/s", 0, _of(lambda m: m.up.mbit)),
    Row("tcp_down_mbit", "TCP down, Mbit/s", 0, _of(lambda m: m.down.mbit)),
    Row("retransmits_up", "sent again, up", 0, _of(lambda m: m.up.retransmits)),
    Row("retransmits_down", "sent again, down", 0, _of(lambda m: m.down.retransmits)),
    Row("ping_idle_ms", "ping idle, ms", 2, _of(lambda m: m.idle.ms)),
    Row("ping_up_ms", "ping under load up, ms", 2, _of(lambda m: m.up.ping.ms)),
    Row("ping_down_ms", "ping under load down, ms", 2, _of(lambda m: m.down.ping.ms)),
    Row("ping_loss_percent", "pings lost under load, %", 1, _of(lambda m: max(m.up.ping.loss, m.down.ping.loss))),
    Row("cpu_s_per_gb_up", "CPU s per GB, up", 2, _of(lambda m: m.up.cpu_per_gb)),
    Row("cpu_s_per_gb_down", "CPU s per GB, down", 2, _of(lambda m: m.down.cpu_per_gb)),
    Row("handshakes_per_s", "handshakes a second", 0, lambda r: [s.per_second for s in r.sessions]),
    Row("kib_per_session", "server KiB an idle session", 0, lambda r: [s.bytes_each / 1024 for s in r.sessions]),
)


def medians(results: Results) -> dict[str, float]:
    """What was measured, by key; a figure that the peer does not have is left out."""
    return {row.key: median(values) for row in ROWS if (values := row.of(results))}


def ratios(mine: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Mine ÷ theirs, for what both have and theirs is not 0."""
    return {key: value / theirs[key] for key, value in mine.items() if theirs.get(key)}


def as_json(
    results: Sequence[Results], about: Mapping[str, Any], product: str, rivals: Sequence[str]
) -> dict[str, Any]:
    """`peers` by name with medians and every run's values; `ratios` of the product to each rival."""
    figures = {one.name: medians(one) for one in results}
    return {
        **about,
        "peers": {
            one.name: {
                "version": one.version,
                "median": figures[one.name],
                "runs": {row.key: row.of(one) for row in ROWS if row.of(one)},
                "failures": one.failures,
            }
            for one in results
        },
        "ratios": {
            rival: ratios(figures[product], figures[rival])
            for rival in rivals
            if product in figures and rival in figures
        },
    }


def as_table(data: Mapping[str, Any], product: str) -> Table:
    """Peers side by side, the product's ratios to each rival behind them."""
    table = Table(title=f"medians of {data['runs']} interleaved runs, {data['seconds']:g} s a stream")
    table.add_column("")
    for name in data["peers"]:
        table.add_column(name, justify="right", style="bold" if name == product else None)
    for rival in data["ratios"]:
        table.add_column(f"÷ {rival}", justify="right")
    table.add_row("", *(one["version"] for one in data["peers"].values()), *("" for _ in data["ratios"]), style="dim")
    for row in ROWS:
        cells = [_cell(one["median"].get(row.key), row.digits) for one in data["peers"].values()]
        cells += [_cell(ratio.get(row.key), 2) for ratio in data["ratios"].values()]
        table.add_row(row.label, *cells)
    return table


def _cell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
