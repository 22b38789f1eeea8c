"""`python -m bench`: every peer in turn, run after run, on a fresh path each time; then one table and one JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.measure import measure
from bench.peers import Peer
from bench.peers.none import NoTunnel
from bench.peers.vpnrs import Vpnrs
from bench.peers.wireguard_go import debian, todays
from bench.table import Results, as_json, as_table
from bench.topology import path
from vpnrs_core.testkit.netns import unavailable

LATEST = Path(__file__).parent / "results" / "latest.json"


def main() -> int:
    """Exit code 0: every peer that could be measured here was, in every run."""
    arguments = _arguments()
    console = Console(stderr=True)
    if why := unavailable():
        console.print(f"bench: {why}")
        return 4
    product = Vpnrs()
    rivals: list[Peer] = [debian(), todays()]
    everyone: list[Peer] = [NoTunnel(), *rivals, Vpnrs("vpnrs, qh3", ("-p", "qh3")), product]
    peers: list[Peer] = []
    for peer in everyone:
        if arguments.only and not any(word in peer.name for word in arguments.only):
            continue
        if why := peer.unavailable():
            console.print(f"{peer.name} is left out: {why}")
        else:
            peers.append(peer)
    results = [Results(peer.name, peer.version()) for peer in peers]
    started = time.monotonic()
    for run in range(1, arguments.runs + 1):
        for peer, result in zip(peers, results, strict=True):
            console.print(f"run {run} of {arguments.runs}: {peer.name}")
            _one(peer, result, arguments.seconds, arguments.sessions, console)
    about = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {"kernel": platform.release(), "cores": os.cpu_count(), "python": platform.python_version()},
        "runs": arguments.runs,
        "seconds": arguments.seconds,
        "took_seconds": round(time.monotonic() - started, 1),
    }
    data = as_json(results, about, product.name, [rival.name for rival in rivals])
    _write(arguments.json, data)
    Console(width=None if sys.stdout.isatty() else 200).print(as_table(data, product.name))
    return 1 if any(result.failures for result in results) else 0


def _one(peer: Peer, result: Results, seconds: float, sessions: int, console: Console) -> None:
    """One run of one peer; what goes wrong is told and kept, and the others go on."""
    try:
        with path() as ends, peer.tunnel(ends) as tunnel:
            result.measured.append(measure(ends, tunnel, seconds))
        if sessions:
            with path() as ends:
                found = peer.sessions(ends, sessions)
            if found is not None:
                result.sessions.append(found)
    except Exception as error:  # any failure of one peer, whatever it is, must not lose the others' figures
        result.failures.append(f"{type(error).__name__}: {error}")
        console.print(f"  failed: {result.failures[-1]}")


def _write(where: Path, data: object) -> None:
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(json.dumps(data, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="turns of all peers (default 5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a TCP stream (default 5)")
    parser.add_argument("--sessions", type=int, default=50, help="handshakes and idle sessions; 0: none (default 50)")
    parser.add_argument("--json", type=Path, default=LATEST, metavar="PATH", help="where the JSON goes")
    parser.add_argument("--only", action="append", metavar="WORD", help="peers whose name has WORD; may be repeated")
    arguments = parser.parse_args()
    if arguments.runs < 1 or arguments.seconds < 1 or arguments.sessions < 0:
        parser.error("--runs and --seconds are at least 1, --sessions at least 0")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
