"""One tier: counts in the store, blocks in the store, so that gateways which share it act as one.

A failure is an entry of its own, in one of as many places as failures begin a block, and the store forgets it when it
is older than the window. All places taken means: so many failures within the window, wherever it is laid. No clock of
another gateway is needed for that, and two that count at once cannot lose one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from vpnrs_core.interfaces import Seconds, Store, Value
from vpnrs_ratelimit.tracker import Forgotten, Tracker


class RuleLike(Protocol):
    """`most` within `window` seconds begin a block of `block` seconds; 0: the tier is off."""

    @property
    def most(self) -> int: ...
    @property
    def window(self) -> Seconds: ...
    @property
    def block(self) -> Seconds: ...


@dataclass(frozen=True)
class Escalation:
    """The n-th block within `memory` seconds of the first lasts factor ** (n - 1) times as long, `longest` at most."""

    factor: float
    memory: Seconds
    longest: Seconds

    def seconds(self, block: Seconds, level: int) -> Seconds:
        if self.factor == 1.0:
            return block
        # Bounded before it is raised: the power of a high level is no float any more.
        return min(max(self.longest, block), block * self.factor ** min(level - 1, 64))


@dataclass(frozen=True)
class Block:
    """`left` is seconds, at least one: what a client is told to wait."""

    tier: str
    who: str
    left: Seconds
    level: int = 1

    def __str__(self) -> str:
        """The tier of all has one name, its own."""
        return self.tier if self.who == self.tier else f"{self.tier} {self.who}"


@dataclass(frozen=True)
class Clocks:
    """`gateway` says whose monotonic clock a block's end was written by."""

    now: Callable[[], Seconds]
    wall: Callable[[], Seconds]
    gateway: str


class Tier:
    """Every call may raise StoreUnavailable. `who` is a name within the tier."""

    def __init__(
        self, name: str, rule: RuleLike, store: Store, clocks: Clocks, escalation: Escalation, tracked: int
    ) -> None:
        self.name, self.rule = name, rule
        self.tracker = Tracker(tracked)
        self._store, self._clocks, self._escalation = store, clocks, escalation

    async def blocked(self, who: str) -> Block | None:
        value = await self._store.get(self._block_key(who))
        return None if value is None else self._read(who, value)

    async def count(self, who: str) -> tuple[Block | None, Forgotten | None]:
        """One more → the block that this one began, and what had to be forgotten for it."""
        now = self._clocks.now()
        forgotten = self.tracker.update(who, now + self.rule.window, now, add=1)
        if forgotten is not None and forgotten.evicted is not None:
            await self.clear(forgotten.evicted)
        if not await self._all_places_taken(who):
            return None, forgotten
        return await self._begin(who), forgotten

    async def clear(self, who: str) -> bool:
        """Forget counts, block and level → whether it was blocked."""
        self.tracker.forget(who)
        await self._forget_counts(who)
        if self._escalation.factor > 1.0:
            await self._store.delete(self._level_key(who))
        return await self._store.delete(self._block_key(who))

    async def blocks(self, limit: int) -> AsyncIterator[Block]:
        prefix = self._block_key("")
        async for key, value in self._store.scan(prefix, limit):
            yield self._read(key.removeprefix(prefix), value)

    # Counting

    async def _all_places_taken(self, who: str) -> bool:
        """Take a place. Begun where the last one of this gateway was: the next but one is then the oldest."""
        store, most = self._store, self.rule.most
        start = self.tracker.count(who)
        for step in range(most):
            if await store.add(self._count_key(who, (start + step) % most), b"", self.rule.window) is not None:
                break
        else:
            return True
        for further in range(step + 1, most):
            if await store.get(self._count_key(who, (start + further) % most)) is None:
                return False
        return True

    async def _begin(self, who: str) -> Block | None:
        """None: it is blocked already, by an attempt that was under way at the same time."""
        store, clocks, rule = self._store, self._clocks, self.rule
        await self._forget_counts(who)
        key, seconds, level = self._block_key(who), rule.block, 1
        version = await store.add(key, self._written(seconds, level), seconds)
        if version is None:
            return None
        if self._escalation.factor > 1.0:
            # Only behind the block itself: of gateways that begin it at once, one raises the level.
            level = await store.increment(self._level_key(who), 1, self._escalation.memory)
            seconds = self._escalation.seconds(rule.block, level)
            await store.replace(key, self._written(seconds, level), version, seconds)
        now = clocks.now()
        # Tracked for as long as anything of it stands in the store, so that the bound holds for that as well.
        kept = seconds if self._escalation.factor == 1.0 else max(seconds, self._escalation.memory)
        self.tracker.update(who, now + kept, now)
        return Block(self.name, who, seconds, level)

    async def _forget_counts(self, who: str) -> None:
        for place in range(self.rule.most):
            await self._store.delete(self._count_key(who, place))

    def _written(self, seconds: Seconds, level: int) -> bytes:
        clocks = self._clocks
        ends = {"by": clocks.gateway, "until": clocks.now() + seconds, "wall": clocks.wall() + seconds}
        return json.dumps({**ends, "seconds": seconds, "level": level}).encode()

    def _read(self, who: str, value: Value) -> Block:
        """Whatever stands there, it is a block: what cannot be read is one of the usual length."""
        clocks = self._clocks
        try:
            found = json.loads(value.data)
            own = found["by"] == clocks.gateway
            left = found["until"] - clocks.now() if own else found["wall"] - clocks.wall()
            return Block(self.name, who, min(max(1.0, float(left)), float(found["seconds"])), int(found["level"]))
        except (ValueError, KeyError, TypeError, OverflowError):
            return Block(self.name, who, self.rule.block)

    def _count_key(self, who: str, place: int) -> str:
        return f"count/{self.name}/{who}/{place}"

    def _block_key(self, who: str) -> str:
        return f"block/{self.name}/{who}"

    def _level_key(self, who: str) -> str:
        return f"level/{self.name}/{who}"
