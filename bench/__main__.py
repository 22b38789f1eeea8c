"""`python -m bench`: vpnrs next to other tunnels and to none, turn after turn; one table and one JSON file.

Without --what it measures everything of the table. Each result is kept as it comes, and --append adds turns to those
that are there, so a long measurement can be made in pieces.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from bench import clients, congestion, page, profile, record
from bench.figures import AIOQUIC, QH3, RIVAL
from bench.peers import Peer
from bench.peers.none import NoTunnel
from bench.peers.openvpn import OpenVpn
from bench.peers.vpnrs import Vpnrs
from bench.peers.wireguard_go import debian, todays
from bench.peers.yardstick import Yardstick
from bench.process import end_cleanly
from bench.record import LATEST, Record
from bench.table import as_table, clients_table, congestion_table, profile_table
from bench.turns import ALWAYS, EVERYTHING, turn
from vpnrs_core.testkit.netns import unavailable

# Turns that the page is written of; with fewer there is no spread to speak of.
_ENOUGH = 3
# What every part needs of the host besides `ip`, and the package that has it.
_TOOLS = {"iperf3": "iperf3", "ping": "iputils-ping"}


def main() -> int:
    """Exit code 0: every peer that could be measured here was, in every turn."""
    arguments = _arguments()
    console = Console(stderr=True)
    end_cleanly()
    if why := _missing() or unavailable():
        console.print(f"bench: {why}")
        return 4
    try:
        results = Record.load(arguments.json)
        good = MATTERS[arguments.matter](arguments, results, console)
    except ValueError as error:
        console.print(f"bench: {error}")
        return 2
    return 0 if good else 1


def _missing() -> str | None:
    """Which tool is missing, None: none is."""
    lacking = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    return f"missing: {', '.join(lacking)}. `make bench` installs what it needs on Debian." if lacking else None


def _table(arguments: argparse.Namespace, results: Record, console: Console) -> bool:
    peers = _peers(arguments, console)
    section = _section(arguments, results, "table", peers)
    good = True
    for number in range(arguments.runs):
        what = arguments.what or (EVERYTHING if not number and not section["turns"] else ALWAYS)
        good &= turn(peers, what, arguments.seconds, section, results.save, console.print)
    _print(as_table(section))
    if not (arguments.only or arguments.what) and good and len(section["turns"]) >= _ENOUGH:
        page.write({**Record.load(page.DATA).sections, **results.sections})
        console.print(f"written: {page.PAGE}")
    return good


def _congestion(arguments: argparse.Namespace, results: Record, console: Console) -> bool:
    peers = [peer for peer in _peers(arguments, console) if peer.name in (RIVAL, QH3, AIOQUIC)]
    paths = [path for path in congestion.PATHS if not arguments.paths or any(word in path for word in arguments.paths)]
    if not peers or not paths:
        raise ValueError(
            f"nothing to measure: choose of {RIVAL}, {QH3}, {AIOQUIC} and of {'; '.join(congestion.PATHS)}"
        )
    if missing := set(congestion.CONTROLS) - set(congestion.controls()):
        console.print(f"this kernel has no {', '.join(missing)}: left out")
    section = _section(arguments, results, "congestion", peers)
    good = True
    for _ in range(arguments.runs):
        good &= congestion.turn(peers, paths, arguments.seconds, section, results.save, console.print)
    _print(congestion_table(section))
    return good


def _clients(arguments: argparse.Namespace, results: Record, console: Console) -> bool:
    section = _section(arguments, results, "clients", [])
    section.setdefault("rows", [])
    counts = arguments.clients or clients.COUNTS
    good = True
    for engine in _engines(arguments):
        good &= clients.measure(engine, counts, arguments.seconds, section, results.save, console.print)
    _print(clients_table(section))
    return good


def _profile(arguments: argparse.Namespace, results: Record, console: Console) -> bool:
    if why := profile.unavailable():
        raise ValueError(why)
    section = _section(arguments, results, "profile", [])
    for engine in _engines(arguments):
        section.setdefault("shares", {})[engine] = profile.profile(Vpnrs(engine), arguments.seconds)
        results.save()
    _print(profile_table(section))
    return True


def _engines(arguments: argparse.Namespace) -> list[str]:
    """Raises ValueError when none is asked for."""
    found = [engine for engine in ("qh3", "aioquic") if _wanted(arguments, f"vpnrs, {engine}")]
    if not found:
        raise ValueError(f"nothing to measure: --only {' '.join(arguments.only)} is in no name of {QH3}, {AIOQUIC}")
    return found


def _wanted(arguments: argparse.Namespace, name: str) -> bool:
    return not arguments.only or any(word in name for word in arguments.only)


def _section(arguments: argparse.Namespace, results: Record, name: str, peers: list[Peer]) -> dict[str, Any]:
    section = results.section(name, record.about({"seconds": arguments.seconds}), arguments.append)
    section.setdefault("peers", {}).update({peer.name: peer.version() for peer in peers})
    section.setdefault("turns", [])
    section.setdefault("failures", [])
    return section


def _print(table: RenderableType) -> None:
    Console(width=None if sys.stdout.isatty() else 220).print(table)


def _peers(arguments: argparse.Namespace, console: Console) -> list[Peer]:
    """Those that are asked for and can be measured here. Raises ValueError when there are none."""
    everyone: list[Peer] = [NoTunnel(), debian(), todays(), Vpnrs("qh3"), Vpnrs("aioquic")]
    if arguments.peers == "all":
        everyone.append(OpenVpn())
    if arguments.yardstick:
        everyone.append(Yardstick(arguments.yardstick))
    found = []
    for peer in everyone:
        if not _wanted(arguments, peer.name):
            continue
        if why := peer.unavailable():
            console.print(f"{peer.name} is left out: {why}")
        else:
            found.append(peer)
    if not found:
        names = "; ".join(peer.name for peer in everyone)
        raise ValueError(f"nothing to measure: choose of {names} (openvpn with --peers all)")
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("matter", nargs="?", choices=MATTERS, default="table", help="what is measured (default: table)")
    parser.add_argument("--runs", type=int, default=5, help="turns of all peers (default 5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a TCP stream (default 4)")
    parser.add_argument("--what", action="append", choices=EVERYTHING, help="only this part; may be repeated")
    parser.add_argument("--paths", action="append", metavar="WORD", help="congestion: only paths with WORD in the name")
    parser.add_argument("--clients", action="append", type=int, metavar="N", help="clients: so many busy ones")
    parser.add_argument("--only", action="append", metavar="WORD", help="peers whose name has WORD; may be repeated")
    parser.add_argument("--peers", choices=("usual", "all"), default="usual", help="all: openvpn as well")
    parser.add_argument("--yardstick", type=Path, metavar="DIR", help="a bare loop to run as well: DIR/loop.py")
    parser.add_argument("--json", type=Path, default=LATEST, metavar="PATH", help="where the results are kept")
    parser.add_argument("--append", action="store_true", help="add to the results that are there")
    arguments = parser.parse_args()
    if arguments.runs < 1 or arguments.seconds < 2:
        parser.error("--runs is at least 1, --seconds at least 2")
    return arguments


MATTERS: Mapping[str, Callable[[argparse.Namespace, Record, Console], bool]] = {
    "table": _table,
    "congestion": _congestion,
    "clients": _clients,
    "profile": _profile,
}

if __name__ == "__main__":
    sys.exit(main())
