"""Path MTU discovery of one sending direction (RFC 8899) as a table: what to probe, what to use. Pure.

Sizes are UDP payloads in bytes. Probes go out in rounds of several sizes at once, and one of a size that passed before
is always among them: what was lost although a smaller one of its round arrived was too large, or had bad luck; three
times in a row it was too large. A round that nobody answers says nothing about sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from vpnrs_core.interfaces.common import Seconds

MAX_PROBES = 3
# What QUIC needs of every path (RFC 9000 section 14).
LEAST = 1200
# MTUs of common links, IP header included: Ethernet, PPPoE, tunnels over either, mobile networks, jumbo frames.
PLATEAUS = (1280, 1300, 1320, 1340, 1360, 1380, 1400, 1420, 1440, 1450, 1460, 1472, 1480, 1492, 1500, 4352, 8000, 9000)
MOST_IN_A_ROUND = 8
# A round lasts three round trips, within these bounds, and longer each time that nobody answers.
SHORTEST_ROUND, LONGEST_ROUND, LONGEST_SILENCE = 0.1, 3.0, 15.0
UNKNOWN_RTT = 0.333
# Answers to rounds this many back still count.
LATE = 3
# After a black hole the path is looked at sooner than RFC 8899 section 5.1.1 asks for, and then ever more rarely.
FIRST_RAISE = 1 / 20


class Phase(Enum):
    """RFC 8899 section 5.2. In ERROR the path does not carry even the base; what it does carry is in use."""

    DISABLED = "disabled"
    BASE = "base"
    SEARCHING = "searching"
    COMPLETE = "search complete"
    ERROR = "error"


# Inputs


@dataclass(frozen=True)
class Start:
    """The peer answers probes from now on."""


@dataclass(frozen=True)
class Acked:
    """The peer received the probe of that size of that round."""

    number: int
    size: int


@dataclass(frozen=True)
class Doubt:
    """Time to make sure that what is in use still passes: there is traffic, or something was lost or has changed.
    `hint` is what somebody (ICMP) says that the path carries: not believed, but probed."""

    hint: int | None = None


@dataclass(frozen=True)
class Limit:
    """The own host does not send more than that."""

    size: int


# Actions


@dataclass(frozen=True)
class Probe:
    """Send a probe of each size."""

    number: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Use:
    """What passes the path, from now on. `settled`: the search is over for now."""

    size: int
    settled: bool


Action = Probe | Use
Input = Start | Acked | Doubt | Limit


@dataclass
class _Round:
    number: int
    sizes: frozenset[int]
    ends: Seconds
    best: int = 0
    answered: set[int] = field(default_factory=set)


class PathMtu:
    """`base` is what is taken for granted at the start, `most` the largest size to try. `ip_overhead`: bytes of IP and
    UDP header, which the common sizes are counted with. `raise_every`: seconds between looks for a larger size (RFC
    8899's PMTU_RAISE_TIMER). `rtt`, kept by the caller, in seconds; None: not known."""

    def __init__(self, base: int, most: int, *, ip_overhead: int = 28, raise_every: Seconds = 600.0) -> None:
        self.most = max(most, LEAST)
        self.size = min(max(base, LEAST), self.most)
        self.phase = Phase.DISABLED
        self.black_holes = 0
        self.rtt: Seconds | None = None
        self._base = max(base, LEAST)
        self._plateaus = tuple(plateau - ip_overhead for plateau in PLATEAUS)
        self._raise_every = self._raise_after = raise_every
        self._raise_at: Seconds | None = None
        self._searching = False
        self._round: _Round | None = None
        self._number = 0
        self._patience = 1
        self._good = LEAST  # the largest that passed in this search
        self._hint: int | None = None
        self._failures: dict[int, int] = {}
        self._now: Seconds = 0.0

    @property
    def base(self) -> int:
        return min(self._base, self.most)

    @property
    def settled(self) -> bool:
        """No search is under way."""
        return not self._searching and self.phase is not Phase.DISABLED

    def step(self, given: Input, now: Seconds) -> list[Action]:
        self._now = now
        handler = self.TABLE.get((self.phase, type(given))) or self.EVERYWHERE.get(type(given))
        return [] if handler is None else handler(self, given)

    @property
    def deadline(self) -> Seconds | None:
        """When `tick` has something to do."""
        return self._raise_at if self._round is None else self._round.ends

    def tick(self, now: Seconds) -> list[Action]:
        self._now = now
        if self._round is not None:
            return self._end_round(self._round) if now >= self._round.ends else []
        if self._raise_at is not None and now >= self._raise_at:
            return self._search_again()
        return []

    # Inputs

    def _on_start(self, _: Start) -> list[Action]:
        self.phase, self._searching = Phase.BASE, True
        return self._begin({self.base, self.most})

    def _on_acked(self, acked: Acked) -> list[Action]:
        """A late answer shows that the size passes all the same, unless it is so late that the path may be another.
        Nothing above the limit is ever probed: such an answer is made up."""
        if not self._number - LATE <= acked.number <= self._number or acked.size > self.most:
            return []
        self._failures.pop(acked.size, None)
        current = self._round
        if current is None:
            return []
        current.answered.add(acked.size)
        current.best = max(current.best, acked.size)
        return self._end_round(current) if current.best >= max(current.sizes) else []

    def _on_doubt(self, doubt: Doubt) -> list[Action]:
        if doubt.hint is not None and LEAST <= doubt.hint < self.size:
            self._hint = doubt.hint
        if self._searching or self._round is not None or self.size <= LEAST:
            return []
        return self._begin({self.size})

    def _on_limit(self, limit: Limit) -> list[Action]:
        self.most = max(LEAST, limit.size)
        if self._round is not None:
            self._round.sizes = frozenset(s for s in self._round.sizes if s <= self.most) or frozenset({LEAST})
        if self.size > self.most:
            self.size = self.most
            self._good = min(self._good, self.size)
            return [Use(self.size, not self._searching)]
        if self.size < self.most and not self._searching and self._raise_at is None:
            self._raise_at = self._now + self._raise_after
        return []

    # Rounds

    def _begin(self, sizes: set[int]) -> list[Action]:
        self._number += 1
        wanted = frozenset(min(size, self.most) for size in (LEAST, *sizes))
        lasts = min(max(3 * (UNKNOWN_RTT if self.rtt is None else self.rtt), SHORTEST_ROUND), LONGEST_ROUND)
        self._round = _Round(self._number, wanted, self._now + min(lasts * self._patience, LONGEST_SILENCE))
        return [Probe(self._number, tuple(sorted(wanted)))]

    def _end_round(self, ended: _Round) -> list[Action]:
        self._round = None
        if not ended.best:
            self._patience *= 2
            return self._begin(set(ended.sizes))
        self._patience = 1
        for size in ended.sizes:
            if size > ended.best:
                self._failures[size] = self._failures.get(size, 0) + 1
        return self._searched(ended.best) if self._searching else self._confirmed(ended.best)

    def _confirmed(self, best: int) -> list[Action]:
        """The end of a round about the size in use."""
        if best >= self.size:
            self._failures.clear()
            self._hint = None
            return []
        if not self._failed(self.size):
            return self._begin({self.size, *self._some(LEAST, self.size)})
        self._fall(best)
        return [Use(self.size, False), *self._next()]

    def _fall(self, best: int) -> None:
        """What was in use is lost: a black hole."""
        self.black_holes += 1
        self._raise_after = self._raise_every * FIRST_RAISE
        self._good = self.size = best
        self._searching = True
        self.phase = Phase.SEARCHING if best >= self.base else Phase.BASE

    def _search_again(self) -> list[Action]:
        self._raise_after = min(2 * self._raise_after, self._raise_every)
        self._failures.clear()
        self._good = self.size
        self._searching = True
        self.phase = Phase.SEARCHING if self.size >= self.base else Phase.BASE
        return self._begin({self.size, self.most})

    def _searched(self, best: int) -> list[Action]:
        """The end of a round of the search: what passed is used at once."""
        before = self.size
        if self._failed(self._good):
            self._fall(best)
        self._good = max(self._good, best)
        if self._good >= self.base:
            self.phase = Phase.SEARCHING
        elif self._failed(self.base):
            self.phase = Phase.ERROR
        # The base is taken for granted only until something else is known.
        if self.phase is not Phase.SEARCHING or self._failed(self.size):
            self.size = self._good
        self.size = max(self.size, self._good)
        following = self._next()
        return ([Use(self.size, not following)] if self.size != before or not following else []) + following

    def _failed(self, size: int) -> bool:
        return self._failures.get(size, 0) >= MAX_PROBES

    def _next(self) -> list[Action]:
        """Another round, or the end of the search."""
        self._raise_at = None
        wall = min((s for s in self._failures if self._failed(s) and s > self._good), default=self.most + 1)
        if wall - self._good > 1:
            pending = {s for s in self._failures if self._good < s < wall}
            fresh = set(self._some(self._good, wall, len(pending))) or (set() if pending else self._between(wall))
            return self._begin({self._good, *pending, *fresh})
        self.size = self._good
        self._searching = False
        self.phase = Phase.ERROR if self.size < self.base else Phase.COMPLETE
        self._failures.clear()
        if self.size < self.most:
            self._raise_at = self._now + self._raise_after
        return []

    def _some(self, low: int, high: int, besides: int = 0) -> list[int]:
        """Common sizes strictly between, and what was hinted at, that have not failed yet: a few of them, fewer
        with others `besides`."""
        found = {s for s in self._plateaus if low < s < high and s <= self.most and s not in self._failures}
        chosen = sorted(found)
        room = max(0, MOST_IN_A_ROUND - besides)
        if len(chosen) > room:
            chosen = chosen[:: -(-len(chosen) // room)] if room else []
        if self._hint is not None and low < self._hint < high and self._hint not in self._failures:
            chosen.append(self._hint)
        return chosen

    def _between(self, wall: int) -> set[int]:
        """Three sizes that divide what is left into quarters."""
        gap = wall - self._good
        return {self._good + max(1, gap * k // 4) for k in (1, 2, 3)} - {wall}

    EVERYWHERE: ClassVar[Mapping[type, Callable[..., list[Action]]]] = {Acked: _on_acked, Limit: _on_limit}
    TABLE: ClassVar[Mapping[tuple[Phase, type], Callable[..., list[Action]]]] = {
        (Phase.DISABLED, Start): _on_start,
        (Phase.COMPLETE, Doubt): _on_doubt,
        (Phase.ERROR, Doubt): _on_doubt,
    }
