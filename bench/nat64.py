"""`python -m bench.nat64`, a part of `make bench`: the NAT64 by itself, its state when it is full, and through a tunnel
to an IPv4-only host; TAYGA with nftables masquerade beside it in the same run."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import nat64_state, page
from bench.nat64_page import PLAIN, state_rows, target_rows, translator_rows, tunnel_rows
from bench.nat64_path import Stream, path, streams
from bench.nat64_tayga import Tayga
from bench.nat64_translator import ours, taygas
from bench.process import end_cleanly
from bench.record import LATEST, Record, about
from vpnrs_core.testkit.netns import unavailable

PARTS = ("translator", "state", "tunnel")
# Turns that the page is written of.
ENOUGH = 3
TAYGA_NOTE = "TAYGA's figures contain its TUN's"


def main() -> int:
    """Exit code 0: all that was asked for was measured."""
    arguments = _arguments()
    console, told = Console(width=None if sys.stdout.isatty() else 160), Console(stderr=True)

    def show(title: str, rows: Iterable[Sequence[str]]) -> None:
        console.print(as_table(title, list(rows)))

    end_cleanly()
    if why := unavailable():
        told.print(f"bench: {why}")
        return 4
    if why := Tayga.unavailable():
        told.print(f"TAYGA is left out: {why}")
    try:
        results = Record.load(arguments.json)
    except ValueError as error:
        told.print(f"bench: {error}")
        return 2
    options = {"engine": arguments.engine or "aioquic", "runs": arguments.runs, "seconds": arguments.seconds}
    data = results.section("nat64", about(options), append=False)
    if "translator" in arguments.only:
        data["translator"] = [cost._asdict() for cost in (*ours(), *taygas(arguments.seconds / 4))]
        show(f"The translator alone, one core; {TAYGA_NOTE}", translator_rows(data["translator"]))
    if "state" in arguments.only:
        data["state"] = nat64_state.measure()._asdict()
        show("A full state", state_rows(data["state"]))
    if "tunnel" in arguments.only:
        data["tunnel"] = through_the_tunnel(arguments.engine, arguments.runs, arguments.seconds, told)
        show(f"A TCP stream through one tunnel, medians, {options}", tunnel_rows(data["tunnel"]))
    show("Targets", target_rows(data))
    results.save()
    if set(arguments.only) == set(PARTS) and arguments.runs >= ENOUGH:
        page.write_text({**Record.load(page.DATA).sections, "nat64": data})
        told.print(f"written: {page.PAGE}")
    return 0


def through_the_tunnel(engine: str | None, runs: int, seconds: int, told: Console) -> dict[str, Any]:
    """`runs` turns in one tunnel → medians, every turn's figures, ratios of each to the path without translation: the
    median of the turns' own ratios, for a machine's speed changes from turn to turn."""
    found: list[list[Stream]] = []
    with path(engine) as there:
        for number in range(runs):
            told.print(f"nat64 through the tunnel, {engine or 'aioquic'}: turn {number + 1} of {runs}")
            found.append(list(streams(there, seconds)))
    return summary(found)


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


def as_table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    """Rows with a header, for a terminal."""
    header, *body = rows
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left")
    for row in body:
        table.add_row(*row)
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.nat64", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="turns through the tunnel (default 3)")
    parser.add_argument("--seconds", type=int, default=4, help="length of a TCP stream (default 4)")
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
