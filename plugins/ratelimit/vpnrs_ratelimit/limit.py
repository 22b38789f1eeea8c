"""The admission check: refuses who is blocked, counts who failed, and forgets what a success makes good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from math import ceil
from typing import ClassVar

from vpnrs_core.interfaces import (
    Admit,
    Attempt,
    Code,
    Context,
    Contribution,
    Principal,
    Refuse,
)
from vpnrs_ratelimit.config import RateLimitConfig
from vpnrs_ratelimit.events import AuthFailedInvalidToken
from vpnrs_ratelimit.figures import Figures
from vpnrs_ratelimit.sources import is_allowed, prefixes
from vpnrs_ratelimit.teller import Teller
from vpnrs_ratelimit.tier import Block, Clocks, Escalation, RuleLike, Tier

CREDENTIAL, GLOBAL, PRINCIPAL = "credential", "global", "principal"
# Characters of a principal's name as it is kept, shown and unblocked.
LONGEST_NAME = 256
# Seconds for all that one attempt asks of the store: well below the five after which the core refuses it anyway.
STORE_DEADLINE = 3.0


class Limit:
    """interfaces.AdmissionCheck. Keyed by the fingerprint of the whole credential, never by its public id: whoever
    knows an id could lock its owner out."""

    NAME: ClassVar[str] = "ratelimit"

    def __init__(self, config: RateLimitConfig, ctx: Context) -> None:
        self.config, self._ctx = config, ctx
        self._allow = config.allowed()
        self.figures = Figures(ctx)
        self.teller = Teller(ctx, config.observe_only, config.when_store_fails)
        self.tiers = _tiers(config, ctx)
        # Attempts that a block met, and that go on all the same: what comes of them counts for nothing.
        self._let_past: set[str] = set()

    # interfaces.AdmissionCheck

    async def before(self, attempt: Attempt) -> Admit | Refuse:
        if is_allowed(attempt.source, self._allow):
            return Admit()
        try:
            async with asyncio.timeout(STORE_DEADLINE):
                if not self.teller.store_works:
                    await self._probe()
                block = await self._longest(attempt)
        except Exception as error:
            # Also what a store must not raise: whatever went wrong, it could not be asked.
            return self._store_failed(error)
        self.teller.store(None)
        return Admit() if block is None else self._blocked(block, attempt)

    async def after(self, attempt: Attempt, outcome: Code | Principal, authenticated: bool) -> None:
        let_past = attempt.id in self._let_past
        self._let_past.discard(attempt.id)
        failed = outcome is Code.AUTH_FAILED and not authenticated
        if failed:
            self.figures.failed(attempt.method)
            self._ctx.emit(
                AuthFailedInvalidToken(fingerprint=_hex(attempt), source=attempt.source, method=attempt.method)
            )
        if let_past or is_allowed(attempt.source, self._allow):
            return
        async with self._store_may_fail():
            if failed:
                for tier, who in self._names(attempt).items():
                    await self._count(tier, who, attempt.source)
            elif authenticated and not attempt.resumed and attempt.fingerprint is not None:
                # A resume proves nothing about the credential that came with it.
                await self.tiers[CREDENTIAL].clear(_hex(attempt)) if CREDENTIAL in self.tiers else None

    # The tier of those who have authenticated

    async def principal(self, attempt: Attempt, principal: Principal) -> Contribution | Refuse:
        """One more authenticated attempt of this principal."""
        tier = self.tiers.get(PRINCIPAL)
        if tier is None or is_allowed(attempt.source, self._allow):
            return Contribution()
        try:
            async with asyncio.timeout(STORE_DEADLINE):
                who = short_name(principal.name)
                block = await tier.blocked(who)
                if block is None:
                    await self._count(PRINCIPAL, who, attempt.source)
        except Exception as error:
            refused = self._store_failed(error)
            return refused if isinstance(refused, Refuse) else Contribution()
        answer = Admit() if block is None else self._blocked(block, attempt)
        return answer if isinstance(answer, Refuse) else Contribution()

    # What both are made of

    def _names(self, attempt: Attempt) -> Mapping[str, str]:
        """Tier → name of this attempt in it, of the tiers that are on."""
        found = {GLOBAL: GLOBAL, **prefixes(attempt.source)}
        if attempt.fingerprint is not None:
            found[CREDENTIAL] = _hex(attempt)
        return {tier: who for tier, who in found.items() if tier in self.tiers}

    async def _longest(self, attempt: Attempt) -> Block | None:
        """Of the blocks that refuse this attempt the one that lasts longest."""
        blocks: list[Block] = []
        for tier, who in self._names(attempt).items():
            block = await self.tiers[tier].blocked(who)
            if block is None:
                continue
            if attempt.resumed and tier != CREDENTIAL:
                # A hundred bad tokens of others must not lock out all who reconnect.
                self.figures.resume_let_past(tier)
                continue
            blocks.append(block)
        return max(blocks, key=lambda block: block.left, default=None)

    def _blocked(self, block: Block, attempt: Attempt) -> Admit | Refuse:
        self.figures.refused(block.tier)
        self.teller.refused(block, attempt.source)
        if self.config.observe_only:
            self._let_past.add(attempt.id)
            return Admit()
        # Rounded up: who comes a moment too early waits once more.
        return Refuse(Code.BLOCKED, retry_after=ceil(block.left * 10) / 10, detail=f"{block} is blocked")

    async def _count(self, tier: str, who: str, source: str) -> None:
        block, forgotten = await self.tiers[tier].count(who)
        if forgotten is not None:
            self.figures.forgotten(forgotten)
            self.teller.forgotten(tier, forgotten)
        if block is not None:
            self.figures.began(tier)
            self.teller.began(block, source)

    async def _probe(self) -> None:
        """A store that is full answers questions and counts nothing: what cannot count must not admit."""
        key = f"probe/{self._ctx.random(8).hex()}"
        await self._ctx.store.add(key, b"", 1.0)
        await self._ctx.store.delete(key)

    @asynccontextmanager
    async def _store_may_fail(self) -> AsyncIterator[None]:
        """What could not be counted is lost; the next attempt waits until the store can count again."""
        try:
            async with asyncio.timeout(STORE_DEADLINE):
                yield
        except Exception as error:
            self._store_failed(error)

    def _store_failed(self, error: Exception) -> Admit | Refuse:
        self.figures.store_failed()
        self.teller.store(error)
        if self.config.when_store_fails == "admit" or self.config.observe_only:
            return Admit()
        return Refuse(Code.INTERNAL, detail=f"ratelimit: the store cannot be asked: {type(error).__name__}: {error}")


def _tiers(config: RateLimitConfig, ctx: Context) -> Mapping[str, Tier]:
    """Those that are on, by name."""
    rules: Sequence[tuple[str, RuleLike]] = (
        (CREDENTIAL, config.per_credential),
        (GLOBAL, config.overall),
        ("ipv4", config.per_ipv4),
        ("ipv6_64", config.per_ipv6_64),
        ("ipv6_56", config.per_ipv6_56),
        (PRINCIPAL, config.per_principal),
    )
    clocks = Clocks(ctx.now, ctx.wall, ctx.random(8).hex())
    escalation = Escalation(config.escalate, config.escalate_memory, config.longest_block)
    return {name: Tier(name, rule, ctx.store, clocks, escalation, config.tracked) for name, rule in rules if rule.most}


def short_name(principal: str) -> str:
    """Of a name that is too long for a key, a table and a request its beginning, and a digest of all of it."""
    if len(principal) <= LONGEST_NAME:
        return principal
    digest = sha256(principal.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{principal[: LONGEST_NAME - len(digest) - 1]}…{digest}"


def _hex(attempt: Attempt) -> str:
    return "" if attempt.fingerprint is None else attempt.fingerprint.hex()
