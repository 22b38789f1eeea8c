"""`ratelimit.status` and `ratelimit.unblock` on the local sockets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Literal

import pydantic
from pydantic import Field

from vpnrs_core.errors import ConfigError, PeerError
from vpnrs_core.interfaces import Context, ControlRequest, StoreUnavailable
from vpnrs_ratelimit.figures import FigureValues
from vpnrs_ratelimit.limit import CREDENTIAL, GLOBAL, PRINCIPAL, STORE_DEADLINE, Limit, short_name
from vpnrs_ratelimit.sources import names
from vpnrs_ratelimit.tier import Block

# With names of 256 characters a few MiB: an answer on a local socket may have 64.
MOST_BLOCKS = 1000
MOST_FAILING = 10
# A credential that was pasted in the place of its fingerprint becomes no key of the store.
_FINGERPRINT = re.compile("[0-9a-fA-F]{1,64}")


class StatusRequest(pydantic.BaseModel):
    """Takes nothing."""

    model_config = pydantic.ConfigDict(extra="forbid")


class UnblockRequest(pydantic.BaseModel):
    """Who is let in again."""

    model_config = pydantic.ConfigDict(extra="forbid")

    who: str | None = Field(
        None, max_length=512, description="A fingerprint, an address or prefix, a principal, or global; or `everyone`."
    )
    everyone: bool = Field(False, description="Every block there is.")


class TierStatus(pydantic.BaseModel):
    """One tier that is on."""

    tier: str = Field(description="credential, global, ipv4, ipv6_64, ipv6_56 or principal.")
    most: int = Field(description="So many within the window begin a block.")
    window: float = Field(description="Seconds.")
    block: float = Field(description="Seconds.")
    tracked: int = Field(description="Entries that this gateway tracks now.")


class BlockStatus(pydantic.BaseModel):
    """One block."""

    tier: str = Field(description="As above.")
    who: str = Field(
        description="A fingerprint, a prefix, a principal, or global; of a name of more than 256 characters its "
        "beginning and a digest."
    )
    seconds_left: float = Field(description="Seconds until it ends.")
    level: int = Field(description="1: the first; more: a longer one, because of those before.")


class Failing(pydantic.BaseModel):
    """A credential that failed lately."""

    fingerprint: str = Field(description="Keyed fingerprint of the presented credential.")
    failures: int = Field(description="Failures since it is tracked.")


class RateLimitStatus(pydantic.BaseModel):
    """What `vpnrs ratelimit status --json` prints."""

    observe_only: bool = Field(description="Nobody is refused.")
    store_works: bool = Field(description="The store answered when it was last asked.")
    when_store_fails: Literal["refuse", "admit"] = Field(description="What happens to attempts while it does not.")
    tiers: list[TierStatus] = Field(description="The tiers that are on.")
    active_blocks: int = Field(description=f"Blocks there are, of all gateways; at most {MOST_BLOCKS} of each tier.")
    blocks: list[BlockStatus] = Field(description=f"These, {MOST_BLOCKS} at most.")
    top_failing: list[Failing] = Field(description=f"The {MOST_FAILING} credentials that failed most at this gateway.")
    figures: FigureValues = Field(description="Counted since the start.")


class Unblocked(pydantic.BaseModel):
    """The answer to `ratelimit.unblock`."""

    unblocked: list[BlockStatus] = Field(description=f"The blocks that there were, {MOST_BLOCKS} of them at most.")
    lifted: int = Field(description="How many there were.")


class Control:
    """Answers for one Limit."""

    def __init__(self, limit: Limit, ctx: Context) -> None:
        self._limit, self._ctx = limit, ctx

    def requests(self) -> list[ControlRequest]:
        return [
            ControlRequest("status", StatusRequest, self.status, True),
            ControlRequest("unblock", UnblockRequest, self.unblock, False),
        ]

    async def status(self, _: StatusRequest) -> RateLimitStatus:
        limit, now = self._limit, self._ctx.now()
        blocks = await self._blocks()
        credential = limit.tiers.get(CREDENTIAL)
        top = credential.tracker.top(MOST_FAILING, now) if credential is not None else ()
        return RateLimitStatus(
            observe_only=limit.config.observe_only,
            store_works=limit.teller.store_works,
            when_store_fails=limit.config.when_store_fails,
            tiers=[
                TierStatus(
                    tier=name,
                    most=tier.rule.most,
                    window=tier.rule.window,
                    block=tier.rule.block,
                    tracked=tier.tracker.live(now),
                )
                for name, tier in limit.tiers.items()
            ],
            active_blocks=len(blocks),
            blocks=blocks[:MOST_BLOCKS],
            top_failing=[Failing(fingerprint=who, failures=count) for who, count in top],
            figures=limit.figures.values,
        )

    async def unblock(self, request: UnblockRequest) -> Unblocked:
        """Counts and level go with the block: whoever is unblocked begins anew. Raises ConfigError for nobody."""
        if (request.who is None) == (not request.everyone):
            raise ConfigError("ratelimit.unblock: name who, or everyone")
        try:
            found = await (self._lift_all() if request.who is None else self._lift(_places(request.who)))
        except StoreUnavailable as error:
            raise PeerError(f"the store cannot be asked: {error}") from None
        if request.who is not None and not found:
            # What was asked for is not repeated: a credential may have been pasted in its place.
            raise ConfigError("nobody is blocked under that name; `vpnrs ratelimit status` shows who is")
        return Unblocked(unblocked=found[:MOST_BLOCKS], lifted=len(found))

    async def _lift(self, places: Mapping[str, str]) -> list[BlockStatus]:
        """What has failed and is not blocked yet begins anew as well."""
        found = []
        for name, who in places.items():
            tier = self._limit.tiers.get(name)
            if tier is None:
                continue
            block = await tier.blocked(who)
            await tier.clear(who)
            if block is not None:
                found.append(_status(block))
        return found

    async def _lift_all(self) -> list[BlockStatus]:
        found: list[BlockStatus] = []
        for tier in self._limit.tiers.values():
            while blocks := [block async for block in tier.blocks(MOST_BLOCKS)]:
                cleared = [await tier.clear(block.who) for block in blocks]
                found += map(_status, blocks)
                if not any(cleared):
                    break  # a store that keeps what it was told to delete
                await asyncio.sleep(0)  # packets go first
        return found

    async def _blocks(self) -> list[BlockStatus]:
        try:
            async with asyncio.timeout(STORE_DEADLINE):
                return [
                    _status(block) for tier in self._limit.tiers.values() async for block in tier.blocks(MOST_BLOCKS)
                ]
        except (StoreUnavailable, TimeoutError) as error:
            raise PeerError(f"the store cannot be asked: {str(error) or 'no answer in time'}") from None


def _status(block: Block) -> BlockStatus:
    return BlockStatus(tier=block.tier, who=block.who, seconds_left=round(block.left, 1), level=block.level)


def _places(who: str) -> Mapping[str, str]:
    """Tier → name, wherever this text may mean somebody."""
    found = {PRINCIPAL: short_name(who), **names(who)}
    if who == GLOBAL:
        found[GLOBAL] = GLOBAL
    if _FINGERPRINT.fullmatch(who):
        found[CREDENTIAL] = who.lower()
    return found
