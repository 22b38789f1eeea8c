"""Tells of blocks, within bounds: who is refused again and again must not fill the log."""

from __future__ import annotations

from collections.abc import Callable

from vpnrs_core.interfaces import Context, Seconds
from vpnrs_ratelimit.events import (
    AuthBlocked,
    AuthBlockedGlobal,
    AuthBlockedPerPrincipal,
    AuthBlockedPerSource,
    AuthBlockedPerToken,
    AuthRateLimitStateEviction,
    AuthRateLimitStore,
)
from vpnrs_ratelimit.tier import Block
from vpnrs_ratelimit.tracker import Forgotten

# Seconds between two events that tell of attempts refused by one tier.
PAUSE = 1.0

_EVENTS: dict[str, Callable[..., AuthBlocked]] = {
    "credential": AuthBlockedPerToken,
    "global": AuthBlockedGlobal,
    "principal": AuthBlockedPerPrincipal,
}


class Teller:
    """Emits the events of blocks and of the store. What it leaves out is counted in the next one."""

    def __init__(self, ctx: Context, observe_only: bool, when_store_fails: str) -> None:
        self._ctx, self._observe_only, self._when_store_fails = ctx, observe_only, when_store_fails
        self._untold: dict[str, int] = {}
        self._told_at: dict[str, Seconds] = {}
        self.store_works = True

    def began(self, block: Block, source: str) -> None:
        self._blocked(block, source, began=True, attempts=0)

    def refused(self, block: Block, source: str) -> None:
        """An attempt was refused, or would have been."""
        now, tier = self._ctx.now(), block.tier
        self._untold[tier] = self._untold.get(tier, 0) + 1
        told_at = self._told_at.get(tier)
        if told_at is None or now - told_at >= PAUSE:
            self._told_at[tier] = now
            self._blocked(block, source, began=False, attempts=self._untold.pop(tier))

    def forgotten(self, tier: str, forgotten: Forgotten) -> None:
        self._ctx.emit(AuthRateLimitStateEviction(tier=tier, expired=forgotten.expired, who=forgotten.evicted or ""))

    def store(self, error: Exception | None) -> None:
        """Once when it stops working, once when it works again."""
        if self.store_works == (error is None):
            return
        self.store_works = error is None
        text = "" if error is None else f"{type(error).__name__}: {error}"
        meanwhile = "" if error is None else self._when_store_fails
        self._ctx.emit(AuthRateLimitStore(working=self.store_works, error=text, attempts=meanwhile))

    def _blocked(self, block: Block, source: str, *, began: bool, attempts: int) -> None:
        make = _EVENTS.get(block.tier, AuthBlockedPerSource)
        self._ctx.emit(
            make(
                who=block.who,
                source=source,
                retry_after=round(block.left, 1),
                began=began,
                attempts=attempts,
                would_only=self._observe_only,
            )
        )
