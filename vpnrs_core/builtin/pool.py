"""The address allocator `pool`: the server takes the first host of each pool, clients the next ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING, ClassVar

from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces.addresses import Lease, PoolExhausted
from vpnrs_core.interfaces.common import Address, Network, Seconds
from vpnrs_core.interfaces.grant import Principal
from vpnrs_core.session.pool import LONGEST_PREFIX, Pool

if TYPE_CHECKING:
    from vpnrs_core.config.models import AddressesConfig

log = logging.getLogger("vpnrs.pool")

_UNUSABLE = tuple(
    (ip_network(text), what)
    for text, what in (
        ("0.0.0.0/8", "this host's own network"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/3", "multicast and reserved"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)


class PoolAllocator:
    """One address of each family from the pools, in the order of the pools.

    - A principal's static addresses come first; they are never given to others, and a further session of the same
      principal gets a dynamic one.
    - Addresses never used come before freed ones, those least recently freed first. A freed address rests for
      `reuse_delay` seconds; one that still rests is given only when nothing else is left, because serving a client
      is worth more than the rest of the delay.
    - `wanted` picks families, and a single address in it (/32, /128) is given if it is free and rested.
    - One family exhausted: the other still serves. Both: PoolExhausted.

    `where` begins each ConfigError: the file and table that the values come from."""

    NAME: ClassVar[str] = "pool"

    def __init__(
        self,
        pools: Sequence[Network],
        *,
        server_addresses: Sequence[Address] = (),
        reserve: Sequence[Address] = (),
        static: Mapping[str, Sequence[Address]] | None = None,
        reuse_delay: Seconds = 60.0,
        now: Callable[[], Seconds] = time.monotonic,
        where: str = "[addresses]",
    ) -> None:
        self._where = where
        self._now = now
        _check_pools(pools, where)
        self._pools = [Pool(network, reuse_delay) for network in pools]
        self._server = self._place_server(server_addresses)
        for address in reserve:
            self._block(address, f"reserve {address}", "reserved")
        self._static: dict[str, tuple[Address, ...]] = {}
        for name, addresses in (static or {}).items():
            self._static[name] = tuple(addresses)
            for address in addresses:
                self._block(
                    address, f"static address {address} of {name}", f"the static address of {name}", static=True
                )

    @classmethod
    def from_config(cls, addresses: AddressesConfig, now: Callable[[], Seconds], where: str) -> PoolAllocator:
        """Made from the table `[addresses]`. `where` names its file, for errors."""
        own = (addresses.server_ipv4, addresses.server_ipv6)
        return cls(
            [pool for pool in (addresses.ipv4, addresses.ipv6) if pool is not None],
            server_addresses=[address for address in own if address is not None],
            reserve=addresses.reserve,
            static=addresses.static,
            reuse_delay=addresses.reuse_delay,
            now=now,
            where=f"{where}: [addresses]",
        )

    @property
    def server_addresses(self) -> Sequence[tuple[Address, int]]:
        return tuple(self._server)

    @property
    def prefixes(self) -> Sequence[Network]:
        return tuple(pool.network for pool in self._pools)

    async def acquire(self, session_id: str, principal: Principal, wanted: Sequence[Network]) -> Sequence[Lease]:
        """At most one lease a family. Raises PoolExhausted when there is none at all."""
        served = {pool.network.version for pool in self._pools}
        families = served & {network.version for network in wanted} if wanted else served
        if not families:
            raise PoolExhausted(f"the client uses none of this server's address families ({_named(served)})")
        hints = [network.network_address for network in wanted if network.num_addresses == 1]
        taken = [self._take(family, session_id, principal.name, hints) for family in sorted(families)]
        leases = [Lease(address) for address in taken if address is not None]
        if not leases:
            raise PoolExhausted(f"no free {_named(families)} address in {', '.join(map(str, self.prefixes))}")
        return leases

    async def renew(self, session_id: str, leases: Sequence[Lease]) -> Sequence[Lease]:
        """The leases that are still the session's. They last as long as it does."""
        return [lease for lease in leases if self._holder(lease.address) == session_id]

    async def release(self, session_id: str, leases: Sequence[Lease]) -> None:
        """Take back what the session holds. A lease that is not (or no longer) its own is left alone and logged: a
        second release must never free an address that someone else has got since."""
        now = self._now()
        for lease in leases:
            pool = self._of(lease.address)
            if pool is None or not pool.give(lease.address, session_id, now):
                log.warning("release of %s, which session %s does not hold, was ignored", lease.address, session_id)

    def reserve(self, address: Address) -> None:
        """Never lease this one. Raises ConfigError when it is outside every pool, no host address, or taken."""
        self._block(address, f"address {address}, which is to be reserved,", "reserved")

    def usage(self) -> Sequence[tuple[str, int, int]]:
        return [(str(pool.network), pool.leased, pool.leasable) for pool in self._pools]

    def _take(self, family: int, session_id: str, name: str, hints: Sequence[Address]) -> Address | None:
        now = self._now()
        pools = [pool for pool in self._pools if pool.network.version == family]
        for address in self._static.get(name, ()):
            for pool in pools:
                if pool.is_host(address) and pool.take_static(address, session_id):
                    return address
        for address in hints:
            if any(pool.take_this(address, session_id, now) for pool in pools):
                return address
        for resting in (False, True):
            for pool in pools:
                if (found := pool.take(session_id, now, resting=resting)) is not None:
                    return found
        return None

    def _holder(self, address: Address) -> str | None:
        pool = self._of(address)
        return pool.holder(address) if pool else None

    def _of(self, address: Address) -> Pool | None:
        return next((pool for pool in self._pools if pool.is_host(address)), None)

    def _place_server(self, chosen: Sequence[Address]) -> list[tuple[Address, int]]:
        by_pool: dict[Network, Address] = {}
        for address in chosen:
            pool = self._pool_for(address, f"server address {address}")
            if pool.network in by_pool:
                raise ConfigError(
                    f"{self._where}: server addresses {by_pool[pool.network]} and {address} are both in "
                    f"{pool.network}. Keep one."
                )
            by_pool[pool.network] = address
        placed = []
        for pool in self._pools:
            address = by_pool.get(pool.network, pool.network[1])
            pool.block(address, "this server's own address")
            placed.append((address, pool.network.prefixlen))
        return placed

    def _block(self, address: Address, what: str, why: str, *, static: bool = False) -> None:
        pool = self._pool_for(address, what)
        if (taken := pool.why_taken(address)) is not None:
            raise ConfigError(f"{self._where}: {what} is already {taken}. Choose a free address of {pool.network}.")
        if not static and pool.leasable <= 1:
            raise ConfigError(
                f"{self._where}: {what} is the last of {pool.network}, so no client could get an address."
            )
        pool.block(address, why, static=static)

    def _pool_for(self, address: Address, what: str) -> Pool:
        """The pool that the address is a host of. Raises ConfigError that says which of the ways to be wrong it is."""
        if (pool := self._of(address)) is not None:
            return pool
        family = [network for network in self.prefixes if network.version == address.version]
        if not family:
            raise ConfigError(
                f"{self._where}: {what} is IPv{address.version}, but there is no IPv{address.version} pool. Add "
                f"one, or take the address out."
            )
        for network in family:
            if address in network:
                kind = "network" if address == network.network_address else "broadcast"
                raise ConfigError(
                    f"{self._where}: {what} is the {kind} address of {network}, which no host can have. Choose one "
                    f"from {network[1]} to {network[-2 if network.version == 4 else -1]}."
                )
        raise ConfigError(f"{self._where}: {what} is outside {' and '.join(map(str, family))}. Choose one inside.")


def _check_pools(pools: Sequence[Network], where: str) -> None:
    if not pools:
        raise ConfigError(f"{where}: no address pool. Give an IPv4 network, an IPv6 network, or both.")
    for number, network in enumerate(pools):
        longest = LONGEST_PREFIX[network.version]
        if network.prefixlen > longest:
            raise ConfigError(
                f"{where}: pool {network} is too small for a server and a client. IPv{network.version} pools "
                f"are /{longest} or shorter."
            )
        for range_, what in _UNUSABLE:
            if network.version == range_.version and network.overlaps(range_):
                raise ConfigError(f"{where}: pool {network} overlaps {range_} ({what}). Choose a private network.")
        for other in pools[:number]:
            if network.version == other.version and network.overlaps(other):
                raise ConfigError(f"{where}: pools {other} and {network} overlap. Keep them apart, or keep one.")


def _named(families: Iterable[int]) -> str:
    return " or ".join(f"IPv{family}" for family in sorted(families))
