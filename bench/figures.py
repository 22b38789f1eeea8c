"""The figures: their names, which way is better, and what several turns of several peers say together. Pure.

A turn is one round of all peers: peer → figure → value. Ratios are computed turn by turn, so that what slows the whole
machine down for a while slows both sides of a division."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Turn = Mapping[str, Mapping[str, float]]

# What ratios are of.
RIVAL = "wireguard-go, today's"
QH3, AIOQUIC = "vpnrs, qh3", "vpnrs, aioquic"


@dataclass(frozen=True)
class Figure:
    """`digits` are decimals; `more`: a larger value is better."""

    key: str
    label: str
    digits: int
    more: bool = False


def _both(key: str, label: str, digits: int, more: bool = False) -> list[Figure]:
    return [Figure(key.format(way), f"{label}, {way}", digits, more) for way in ("up", "down")]


FIGURES: Sequence[Figure] = (
    *_both("tcp_{}_mbit", "TCP, one stream, Mbit/s", 0, True),
    *_both("tcp4_{}_mbit", "TCP, four streams, Mbit/s", 0, True),
    *_both("udp64_{}_pps", "UDP, 64 bytes, packets/s", 0, True),
    *_both("udp1200_{}_pps", "UDP, 1,200 bytes, packets/s", 0, True),
    Figure("ping_idle_ms", "ping idle, median, ms", 2),
    Figure("ping_idle_mean_ms", "ping idle, mean, ms", 2),
    Figure("ping_idle_p99_ms", "ping idle, p99, ms", 2),
    *_both("ping_{}_ms", "ping under load, median, ms", 2),
    *_both("ping_{}_mean_ms", "ping under load, mean, ms", 2),
    *_both("ping_{}_p99_ms", "ping under load, p99, ms", 2),
    *_both("ping_{}_lost_percent", "pings lost under load, %", 1),
    *_both("cpu_s_per_gb_{}", "CPU s per GB, both ends", 2),
    *_both("retransmits_{}", "segments sent again, one stream", 0),
    *_both("long_{}_retransmits", "segments sent again in 30 s", 0),
    *_both("long_{}_dropped", "dropped by own queues in 30 s", 0),
    Figure("handshakes_per_s", "handshakes a second", 0, True),
    Figure("kib_per_session", "server KiB an idle session, of 1,000", 1),
    Figure("sessions_missed", "of 1,000 idle sessions lost in 35 s", 0),
    Figure("idle_cpu_percent", "server CPU for 1,000 idle sessions, %", 1),
    Figure("others_cpu_percent", "of the machine used by others meanwhile, %", 0),
)


@dataclass(frozen=True)
class Spread:
    """Of several turns."""

    median: float
    low: float
    high: float
    turns: int


def spread(values: Sequence[float]) -> Spread | None:
    """None: there are no values."""
    return Spread(median(values), min(values), max(values), len(values)) if values else None


def of(turns: Sequence[Turn], peer: str, key: str) -> Spread | None:
    """A peer's figure over all turns that have it."""
    return spread([turn[peer][key] for turn in turns if key in turn.get(peer, {})])


def ratio(turns: Sequence[Turn], peer: str, key: str, rival: str = RIVAL) -> Spread | None:
    """The peer's value ÷ the rival's, turn by turn; turns that lack one, or whose divisor is 0, are left out."""
    found = []
    for turn in turns:
        mine, theirs = turn.get(peer, {}).get(key), turn.get(rival, {}).get(key)
        if mine is not None and theirs:
            found.append(mine / theirs)
    return spread(found)


@dataclass(frozen=True)
class Target:
    """What one peer's figure shall reach: a ratio to the rival, or with `absolute` the value itself."""

    peer: str
    key: str
    limit: float
    absolute: bool = False

    @property
    def figure(self) -> Figure:
        return next(figure for figure in FIGURES if figure.key == self.key)

    def measured(self, turns: Sequence[Turn]) -> Spread | None:
        return of(turns, self.peer, self.key) if self.absolute else ratio(turns, self.peer, self.key)

    def met(self, turns: Sequence[Turn]) -> bool | None:
        """None: not measured."""
        found = self.measured(turns)
        if found is None:
            return None
        return found.median >= self.limit if self.figure.more else found.median <= self.limit


def _targets(peer: str, key: str, limit: float, absolute: bool = False) -> list[Target]:
    keys = [key.format(way) for way in ("up", "down")] if "{}" in key else [key]
    return [Target(peer, one, limit, absolute) for one in keys]


TARGETS: Sequence[Target] = (
    *_targets(QH3, "tcp_{}_mbit", 1.1),
    *_targets(QH3, "tcp4_{}_mbit", 1.15),
    *_targets(QH3, "cpu_s_per_gb_{}", 0.9),
    *_targets(QH3, "ping_idle_ms", 1.2),
    *_targets(QH3, "ping_{}_mean_ms", 0.6),
    *_targets(QH3, "ping_{}_p99_ms", 0.8),
    *_targets(QH3, "udp1200_{}_pps", 2.0),
    *_targets(QH3, "long_{}_retransmits", 0, absolute=True),
    *_targets(QH3, "long_{}_dropped", 0, absolute=True),
    *_targets(QH3, "kib_per_session", 100 * 1000 / 1024, absolute=True),
    *_targets(QH3, "sessions_missed", 0, absolute=True),
    *_targets(AIOQUIC, "kib_per_session", 100 * 1000 / 1024, absolute=True),
    *_targets(AIOQUIC, "sessions_missed", 0, absolute=True),
    *_targets(AIOQUIC, "tcp_{}_mbit", 0.15),
)
