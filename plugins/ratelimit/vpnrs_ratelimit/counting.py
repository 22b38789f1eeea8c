"""Keeps the figure of active blocks true while nobody comes: a block ends by itself."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from vpnrs_core.interfaces import StoreUnavailable
from vpnrs_ratelimit.limit import Limit

# Seconds between two looks, and the blocks of a tier that are counted at most.
PERIOD = 10.0
MOST = 1000


class BlockCount:
    """interfaces.Service."""

    NAME: ClassVar[str] = "ratelimit"

    def __init__(self, limit: Limit) -> None:
        self._limit = limit

    async def run(self) -> None:
        while True:
            await self.count()
            await asyncio.sleep(PERIOD)

    async def count(self) -> None:
        """A store that cannot be asked leaves the figures as they are: attempts tell that it fails."""
        try:
            for name, tier in self._limit.tiers.items():
                self._limit.figures.active(name, len([block async for block in tier.blocks(MOST)]))
        except StoreUnavailable:
            pass
