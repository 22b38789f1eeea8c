"""Leases that end by a time are renewed at half of it, for as long as their session lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from vpnrs_core.engine.containment import FailureReporter
from vpnrs_core.interfaces import Address, AddressAllocator, Code, Lease, Network, Refuse
from vpnrs_core.session.session import SessionRecord

# Seconds that the allocator may take, and the shortest wait between two calls.
DEADLINE = 5.0
SHORTEST = 0.05


def granted_addresses(leases: Sequence[Lease], pools: Sequence[Network]) -> list[tuple[Address, int]]:
    """Each address with the prefix length of its pool; of its own length where no pool has it."""

    def length(address: Address) -> int:
        found = (pool.prefixlen for pool in pools if pool.version == address.version and address in pool)
        return next(found, address.max_prefixlen)

    return [(lease.address, length(lease.address)) for lease in leases]


class LeaseRenewal:
    """`renewed(record, leases)` puts new leases in force; `lost(session, refuse)` ends a session that has none left."""

    def __init__(
        self,
        allocator: AddressAllocator,
        reporter: FailureReporter,
        renewed: Callable[[SessionRecord, Sequence[Lease]], None],
        lost: Callable[[str, Refuse], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._allocator = allocator
        self._reporter = reporter
        self._renewed = renewed
        self._lost = lost
        self._sleep = sleep

    def needed(self, record: SessionRecord) -> bool:
        return any(lease.until is not None for lease in record.holder.leases)

    async def keep(self, record: SessionRecord) -> None:
        """Until the leases have no end any more, or the session has lost them. Cancelled when the session ends."""
        now = asyncio.get_running_loop().time
        while self.needed(record):
            until = min(lease.until for lease in record.holder.leases if lease.until is not None)
            await self._sleep(max((until - now()) / 2, SHORTEST))
            try:
                async with asyncio.timeout(DEADLINE):
                    leases = tuple(await self._allocator.renew(record.id, record.holder.leases))
            except Exception as exc:
                self._reporter.report(self._allocator.NAME, "renew", exc, now())
                if now() < until:
                    continue
                leases = ()
            if not leases:
                self._lost(record.id, Refuse(Code.POOL_EXHAUSTED, detail="its leases were not renewed"))
                return
            self._renewed(record, leases)
