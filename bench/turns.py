"""Every peer in turn, turn after turn, each on a fresh path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench import measure
from bench.measure import PARTS, Figures
from bench.peers import Peer
from bench.process import moment, others_percent
from bench.topology import path

# Sessions that the handshakes are counted over; idle ones, and the seconds that they are kept: longer than the silence
# that counts as death.
_HANDSHAKES = 50
_SESSIONS, _HOLD = 1000, 35.0

# Measured in every turn, and in the first one only, for they take long and vary little.
ALWAYS = ("ping", "tcp", "streams", "udp", "handshakes")
ONCE = ("long", "sessions")
EVERYTHING = (*ALWAYS, *ONCE)

Say = Callable[[str], None]


def turn(
    peers: Sequence[Peer],
    what: Sequence[str],
    seconds: float,
    section: dict[str, Any],
    save: Callable[[], None],
    say: Say,
) -> bool:
    """One turn, added to the section as it goes → whether nothing failed. What goes wrong with one peer is told and
    kept, and the others go on."""
    made: dict[str, Figures] = {}
    section["turns"].append(made)
    good = True
    for peer in peers:
        say(f"turn {len(section['turns'])}: {peer.name}")
        figures: Figures = {}
        before = moment()
        try:
            _one(peer, what, seconds, figures)
        except Exception as error:  # any failure of one peer, whatever it is, must not lose the others' figures
            section["failures"].append(f"{peer.name}: {type(error).__name__}: {error}")
            say(f"  failed: {section['failures'][-1]}")
            good = False
        if figures:
            figures["others_cpu_percent"] = others_percent(before, moment())
            made[peer.name] = figures
        save()
    return good


def _one(peer: Peer, what: Sequence[str], seconds: float, figures: Figures) -> None:
    """The parts of one peer; those that were measured stay in `figures` when a later one fails."""
    parts = [part for part in PARTS if part in what]
    if parts:
        with path() as ends, peer.tunnel(ends) as tunnel:
            measure.ready(ends, tunnel)
            for part in parts:
                figures |= PARTS[part](ends, tunnel, seconds)
    if "handshakes" in what:
        with path() as ends:
            found = peer.sessions(ends, _HANDSHAKES, 0)
        if found is not None:
            figures["handshakes_per_s"] = found.per_second
    if "sessions" in what:
        with path() as ends:
            found = peer.sessions(ends, _SESSIONS, _HOLD)
        if found is not None:
            figures["kib_per_session"] = found.bytes_each / 1024
            if found.missed is not None:
                figures["sessions_missed"] = found.missed
            if found.cpu_percent is not None:
                figures["idle_cpu_percent"] = found.cpu_percent
