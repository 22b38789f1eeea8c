"""The contract of address allocators: nobody's address is anybody else's, what is released is free, none leaks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any, ClassVar

import pytest

from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces import Lease, Principal
from vpnrs_core.interfaces.addresses import PoolExhausted
from vpnrs_core.testkit.suites.base import Suite, is_named, run

ALICE = Principal("alice")
# Give up here: a larger pool is not tried to its end.
MANY = 300


class AllocatorSuite(Suite):
    """`subject` is a fresh allocator."""

    kind: ClassVar[str] = "allocator"

    async def acquire(self, subject: Any, session: str, principal: Principal = ALICE) -> Sequence[Lease]:
        leases: Sequence[Lease] = await subject.acquire(session, principal, ())
        assert leases, "`acquire` returned no lease; an empty pool raises PoolExhausted"
        assert all(isinstance(lease, Lease) for lease in leases)
        families = [lease.address.version for lease in leases]
        assert len(set(families)) == len(families), "two leases of one family"
        return leases

    def test_it_has_a_name(self, subject: Any) -> None:
        assert is_named(subject)

    def test_leases_are_of_its_prefixes_and_never_the_servers(self, subject: Any) -> None:
        own = {address for address, _ in subject.server_addresses}
        for address, length in subject.server_addresses:
            assert any(address in network and length == network.prefixlen for network in subject.prefixes)

        async def check() -> None:
            for number in range(20):
                try:
                    leases = await self.acquire(subject, f"s{number}", Principal(f"p{number}"))
                except PoolExhausted:
                    break
                for lease in leases:
                    assert lease.address not in own
                    assert any(lease.address in network for network in subject.prefixes)

        run(check())

    def test_no_address_is_leased_twice(self, subject: Any) -> None:
        async def check() -> None:
            asked = (self.acquire(subject, f"s{number}", Principal(f"p{number}")) for number in range(50))
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert not [a for a in answers if isinstance(a, BaseException) and not isinstance(a, PoolExhausted)]
            found = [lease.address for a in answers if not isinstance(a, BaseException) for lease in a]
            assert len(set(found)) == len(found)

        run(check())

    def test_one_principal_may_have_several_sessions(self, subject: Any) -> None:
        async def check() -> None:
            first, second = await self.acquire(subject, "s1"), await self.acquire(subject, "s2")
            assert not {lease.address for lease in first} & {lease.address for lease in second}

        run(check())

    def test_what_is_released_is_free_again_and_nothing_leaks(self, subject: Any) -> None:
        async def check() -> None:
            before = [leased for _, leased, _ in subject.usage()]
            for number in range(MANY):
                # As many as this are more than most test pools hold: a leak shows.
                leases = await self.acquire(subject, f"s{number}", Principal(f"p{number}"))
                await subject.release(f"s{number}", leases)
            assert [leased for _, leased, _ in subject.usage()] == before

        run(check())

    def test_a_late_release_frees_nobody_elses_address(self, subject: Any) -> None:
        async def check() -> None:
            old = await self.acquire(subject, "old")
            await subject.release("old", old)
            taken = [lease.address for n in range(20) for lease in await self._try(subject, f"s{n}")]
            await subject.release("old", old)
            more = [lease.address for n in range(20) for lease in await self._try(subject, f"t{n}")]
            assert not set(taken) & set(more)

        run(check())

    def test_an_exhausted_pool_says_so_and_recovers(self, subject: Any) -> None:
        async def check() -> None:
            held: dict[str, Sequence[Lease]] = {}
            for number in range(MANY):
                try:
                    held[f"s{number}"] = await self.acquire(subject, f"s{number}", Principal(f"p{number}"))
                except PoolExhausted:
                    break
            # A larger pool is not emptied: then this is a promise about releasing many.
            for session, leases in held.items():
                await subject.release(session, leases)
            assert await self.acquire(subject, "again")

        run(check())

    def test_a_hint_decides_the_family(self, subject: Any) -> None:
        async def check() -> None:
            for network in subject.prefixes:
                everything = ip_network("0.0.0.0/0" if network.version == 4 else "::/0")
                leases = await subject.acquire(f"s{network.version}", ALICE, (everything,))
                assert {lease.address.version for lease in leases} == {network.version}

        run(check())

    def test_renewing_keeps_the_session_its_leases(self, subject: Any) -> None:
        async def check() -> None:
            leases = await self.acquire(subject, "s1")
            renewed = await subject.renew("s1", leases)
            assert renewed, "a session that lives keeps at least one lease"
            assert all(isinstance(lease, Lease) for lease in renewed)

        run(check())

    def test_what_is_reserved_is_never_leased(self, subject: Any) -> None:
        async def check() -> None:
            leases = await self.acquire(subject, "s1")
            await subject.release("s1", leases)
            for lease in leases:
                subject.reserve(lease.address)
            taken = [lease.address for n in range(20) for lease in await self._try(subject, f"s{n}")]
            assert not set(taken) & {lease.address for lease in leases}

        run(check())

    def test_an_address_that_cannot_be_reserved_is_a_configuration_error(self, subject: Any) -> None:
        version = subject.prefixes[0].version
        outside = ip_network("203.0.113.0/24" if version == 4 else "2001:db8:ffff::/64")[1]
        with pytest.raises(ConfigError, match=str(outside)):
            subject.reserve(outside)

    def test_usage_adds_up(self, subject: Any) -> None:
        async def check() -> None:
            before = list(subject.usage())
            leases = await self.acquire(subject, "s1")
            after = list(subject.usage())
            assert sum(row[1] for row in after) - sum(row[1] for row in before) == len(leases)
            assert all(0 <= leased <= leasable for _, leased, leasable in after)

        run(check())

    async def _try(self, subject: Any, session: str) -> Sequence[Lease]:
        try:
            return await self.acquire(subject, session, Principal(session))
        except PoolExhausted:
            return ()
