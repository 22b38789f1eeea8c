"""Leases with an end: renewed at half of their time, replaced before the old address is free, lost with words."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address

from vpnrs_core.events import SessionChanged
from vpnrs_core.interfaces import Lease
from vpnrs_core.testkit.clock import on_clock


class Ending:
    """The bench's allocator with leases that last `seconds`; `renew` answers what a test wants."""

    def __init__(self, allocator, seconds, answer):
        self.inner, self.seconds, self.answer, self.renewals = allocator, seconds, answer, []
        self.NAME, self.prefixes, self.server_addresses = "ending", allocator.prefixes, allocator.server_addresses

    def _end(self):
        return asyncio.get_running_loop().time() + self.seconds

    async def acquire(self, session, principal, wanted):
        return [replace(lease, until=self._end()) for lease in await self.inner.acquire(session, principal, wanted)]

    async def renew(self, session, leases):
        self.renewals.append(asyncio.get_running_loop().time())
        return self.answer(self, leases)

    async def release(self, session, leases):
        await self.inner.release(session, [Lease(lease.address) for lease in leases])


def same(allocator, leases):
    return [replace(lease, until=allocator._end()) for lease in leases]


@on_clock
async def test_leases_are_renewed_at_half_of_their_time(bench):
    b = bench(allocator=lambda inner: Ending(inner, 80.0, same))
    started = asyncio.get_running_loop().time()
    link = await b.attempt()
    await asyncio.sleep(90)
    first, second = (at - started for at in b.allocator.renewals[:2])
    assert (first, second) == (40.0, 80.0)
    assert link.session.leases == (ip_address("10.77.0.2"),)
    assert not b.allocator.inner.released


@on_clock
async def test_a_changed_address_is_in_force_before_the_old_one_is_released(bench):
    other = ip_address("10.77.0.9")
    b = bench(allocator=lambda inner: Ending(inner, 60.0, lambda a, leases: [Lease(other)]))
    link = await b.attempt()
    await asyncio.sleep(200)
    assert link.session.leases == (other,)
    assert b.pipeline.route(other) is link.session
    assert b.pipeline.route(ip_address("10.77.0.2")) is None
    assert link.session.granted.addresses == [(other, 24)]
    assert [str(lease.address) for _, lease in b.allocator.inner.released] == ["10.77.0.2"]
    assert any(isinstance(event, SessionChanged) for event in b.events)
    await asyncio.sleep(300)
    assert len(b.allocator.renewals) == 1  # the new lease has no end


@on_clock
async def test_leases_that_are_not_renewed_end_the_session(bench):
    b = bench(allocator=lambda inner: Ending(inner, 60.0, lambda a, leases: []))
    await b.attempt()
    await asyncio.sleep(200)
    await b.sessions.released()
    assert [str(lease.address) for _, lease in b.allocator.inner.released] == ["10.77.0.2"]


@on_clock
async def test_an_allocator_that_raises_is_asked_again_until_the_lease_is_over(bench):
    def broken(allocator, leases):
        raise RuntimeError("no answer")

    b = bench(allocator=lambda inner: Ending(inner, 60.0, broken))
    await b.attempt()
    await asyncio.sleep(200)
    assert len(b.allocator.renewals) >= 2
    assert ("ending", "renew") in b.failures()
    await b.sessions.released()
    assert len(b.allocator.inner.released) == 1


@on_clock
async def test_the_end_of_a_session_ends_its_renewal(bench):
    b = bench(allocator=lambda inner: Ending(inner, 60.0, same), resume_window=0.0)
    link = await b.attempt()
    link.closed("gone", graceful=True)
    await b.sessions.released()
    await asyncio.sleep(300)
    assert b.allocator.renewals == []
