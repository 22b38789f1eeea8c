"""`python -m bench.nat64`, a part of `make bench`: the NAT64 by itself, its state when it is full, and through a tunnel
to an IPv4-only host; TAYGA with nftables masquerade beside it in the same run."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import nat64_state
from bench.nat64_path import NAT64, PLAIN, TAYGA, Stream, path, streams
from bench.nat64_tayga import Tayga
from bench.nat64_translator import Cost, ours, taygas
from vpnrs_core.testkit.netns import unavailable

LATEST = Path(__file__).parent / "results" / "nat64.json"
PARTS = ("translator", "state", "tunnel")


def main() -> int:
    """Exit code 0: all that was asked for was measured."""
    arguments = _arguments()
    console, told = Console(width=None if sys.stdout.isatty() else 160), Console(stderr=True)
    if why := unavailable():
        told.print(f"bench: {why}")
        return 4
    if why := Tayga.unavailable():
        told.print(f"TAYGA is left out: {why}")
    data: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {"kernel": platform.release(), "cores": os.cpu_count(), "python": platform.python_version()},
    }
    if "translator" in arguments.only:
        costs = [*ours(), *taygas(arguments.seconds / 4)]
        data["translator"] = [cost._asdict() for cost in costs]
        console.print(translator_table(costs))
    if "state" in arguments.only:
        data["state"] = nat64_state.measure()._asdict()
        console.print(state_table(data["state"]))
    if "tunnel" in arguments.only:
        data["tunnel"] = through_the_tunnel(arguments.engine, arguments.runs, arguments.seconds, told)
        console.print(tunnel_table(data["tunnel"]))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(data, indent=2) + "\n")
    return 0


def through_the_tunnel(engine: str | None, runs: int, seconds: float, told: Console) -> dict[str, Any]:
    """`runs` turns in one tunnel → medians, every turn's figures, ratios of each to the path without translation: the
    median of the turns' own ratios, for a machine's speed changes from turn to turn."""
    found: list[list[Stream]] = []
    with path(engine) as there:
        for number in range(runs):
            told.print(f"nat64 through the tunnel, {engine or 'aioquic'}: turn {number + 1} of {runs}")
            found.append(list(streams(there, seconds)))
    return {"engine": engine or "aioquic", "runs": runs, "seconds": seconds, **summary(found)}


def summary(turns: Sequence[Sequence[Stream]]) -> dict[str, Any]:
    """By way and by who: Mbit/s and CPU seconds a gigabyte of every turn, their medians, and the median ratio."""
    result: dict[str, Any] = {}
    for way in ("up", "down"):
        by_turn = [{stream.who: stream for stream in turn if stream.way == way} for turn in turns]
        result[way] = {
            who: {
                "mbit": median(turn[who].mbit for turn in by_turn),
                "cpu_s_per_gb": median(turn[who].cpu_per_gb for turn in by_turn),
                "to_plain": median(turn[who].mbit / turn[PLAIN].mbit for turn in by_turn),
                "turns_mbit": [round(turn[who].mbit, 1) for turn in by_turn],
            }
            for who in by_turn[0]
        }
    return result


def translator_table(costs: Iterable[Cost]) -> Table:
    table = Table(title="The translator alone, one core; TAYGA's figures contain its TUN's", title_justify="left")
    table.add_column("")
    by_case: dict[tuple[int, str], dict[str, Cost]] = {}
    for cost in costs:
        by_case.setdefault((cost.size, cost.direction), {})[cost.who] = cost
    names = list(dict.fromkeys(who for case in by_case.values() for who in case))
    for who in names:
        for unit in ("packets/s", "Gbit/s"):
            table.add_column(f"{who}, {unit}", justify="right")
    for (size, direction), case in by_case.items():
        cells = [text for who in names for text in _cost_cells(case.get(who))]
        table.add_row(f"{direction}, {size:,} bytes", *cells)
    return table


def _cost_cells(cost: Cost | None) -> tuple[str, str]:
    return ("–", "–") if cost is None else (f"{cost.packets:,.0f}", f"{cost.gbit:,.2f}")


def state_table(state: dict[str, float]) -> Table:
    table = Table(title=f"{nat64_state.COUNT:,} bindings, each with a session", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    for key, (label, unit) in nat64_state.LABELS.items():
        table.add_row(label, f"{state[key]:,.1f} {unit}")
    return table


def tunnel_table(found: dict[str, Any]) -> Table:
    table = Table(
        title=f"A TCP stream through one tunnel ({found['engine']}) to a host behind the server, medians of "
        f"{found['runs']} turns of {found['seconds']:g} s",
        title_justify="left",
    )
    table.add_column("")
    names = [who for who in (PLAIN, NAT64, TAYGA) if who in found["up"]]
    for who in names:
        table.add_column(who, justify="right")
    for way in ("up", "down"):
        for key, label, digits in (
            ("mbit", "Mbit/s", 0), ("to_plain", "÷ without translation", 2), ("cpu_s_per_gb", "CPU s per GB", 2),
        ):  # fmt: skip
            table.add_row(f"{way}, {label}", *(f"{found[way][who][key]:,.{digits}f}" for who in names))
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.nat64", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="turns through the tunnel (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a TCP stream (default 4)")
    engine = "qh3" if importlib.util.find_spec("vpnrs_qh3") else None
    parser.add_argument("--engine", default=engine, help="plugin with the QUIC engine (default: qh3 where installed)")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated (default: all)")
    parser.add_argument("--json", type=Path, default=LATEST, metavar="PATH", help="where the JSON goes")
    arguments = parser.parse_args()
    if arguments.runs < 1 or arguments.seconds < 1:
        parser.error("--runs and --seconds are at least 1")
    arguments.only = arguments.only or list(PARTS)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
