"""Address allocators: who gets which address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from vpnrs_core.interfaces.common import Address, Network, Seconds
from vpnrs_core.interfaces.grant import Principal


@dataclass(frozen=True)
class Lease:
    """`until` is monotonic seconds, None: as long as the session. The core renews at half of the time that is left."""

    address: Address
    until: Seconds | None = None


class PoolExhausted(Exception):
    """Raised by `acquire` when no family has an address left: the attempt is refused with pool_exhausted."""


class AddressAllocator(Protocol):
    """Server. `release` is called exactly once for what `acquire` returned, on every path, a crash of the process
    excepted. `acquire` and `renew` may take 5 s; raising anything else than what stands here refuses the attempt with
    `internal`, and is reported.

    `server_addresses` are the host's own on the TUN, each with its pool's prefix length: the allocator knows the
    pools, so it decides them; `prefixes` are the pools themselves."""

    NAME: ClassVar[str]

    @property
    def server_addresses(self) -> Sequence[tuple[Address, int]]: ...
    @property
    def prefixes(self) -> Sequence[Network]: ...
    async def acquire(self, session_id: str, principal: Principal, wanted: Sequence[Network]) -> Sequence[Lease]:
        """At least one lease, at most one a family. `wanted` are hints, a host prefix for a certain address, and say
        which families the client can use; empty: all. Raises PoolExhausted."""

    async def renew(self, session_id: str, leases: Sequence[Lease]) -> Sequence[Lease]:
        """All leases that the session has from now on; empty: none, and the session ends. Raising is tried again until
        the leases end."""

    async def release(self, session_id: str, leases: Sequence[Lease]) -> None:
        """They are free. Raising is reported and not tried again."""

    def reserve(self, address: Address) -> None:
        """Never lease this one (a host need). Raises ConfigError when it is outside every pool or taken."""

    def usage(self) -> Sequence[tuple[str, int, int]]:
        """(prefix, leased, leasable) a pool, for status."""
