"""A session's leases, whose release is asked for exactly once on every path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vpnrs_core.interfaces.addresses import Lease
from vpnrs_core.interfaces.common import Address


@dataclass(frozen=True)
class ReleaseLeases:
    """Action: give these back to the allocator."""

    session: str
    leases: tuple[Lease, ...]


class LeaseHolder:
    """Owns leases from the moment they are acquired. Every way out asks for `release`; only the first gets them."""

    def __init__(self, session: str, leases: Sequence[Lease] = ()) -> None:
        self._session = session
        self._leases = tuple(leases)
        self._released = False

    @property
    def leases(self) -> tuple[Lease, ...]:
        return self._leases

    @property
    def addresses(self) -> tuple[Address, ...]:
        return tuple(lease.address for lease in self._leases)

    @property
    def released(self) -> bool:
        return self._released

    def replace(self, leases: Sequence[Lease]) -> tuple[ReleaseLeases, ...]:
        """Hold these instead, as after a renewal → the release of those whose address is no longer among them. For a
        session that has ended meanwhile, what it did not hold at its end is given back at once."""
        old, new = self._leases, tuple(leases)
        if self._released:
            given_back = {lease.address for lease in old}
            late = tuple(lease for lease in new if lease.address not in given_back)
            self._leases = old + late
            return self._action(late)
        kept = {lease.address for lease in new}
        self._leases = new
        return self._action(tuple(lease for lease in old if lease.address not in kept))

    def release(self) -> tuple[ReleaseLeases, ...]:
        """→ one action the first time, none after that. The addresses stay readable, for the last events."""
        if self._released:
            return ()
        self._released = True
        return self._action(self._leases)

    def _action(self, leases: tuple[Lease, ...]) -> tuple[ReleaseLeases, ...]:
        return (ReleaseLeases(self._session, leases),) if leases else ()
