"""A gate with everything behind it that is the core's own, and plugins that a test writes: no TUN, no network."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network

import pytest

from vpnrs_core.builtin.lanes import DatagramLane
from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.builtin.single import SingleLinkScheduler
from vpnrs_core.counters import DropCounts
from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.codecs import CodecSet
from vpnrs_core.engine.containment import FailureReporter
from vpnrs_core.engine.datapath import Datapath
from vpnrs_core.engine.gate import ServerGate
from vpnrs_core.engine.judge import Judge
from vpnrs_core.engine.linkbook import LinkBook
from vpnrs_core.engine.sessions import ServerSessions
from vpnrs_core.events import PluginFailed
from vpnrs_core.interfaces import Accept, Admit, Bearer, Contribution, Lease, Offer, Principal
from vpnrs_core.interfaces.addresses import PoolExhausted
from vpnrs_core.pipeline.pipeline import Pipeline
from vpnrs_core.plugins.registry import Entry
from vpnrs_core.testkit.connection import connection_pair
from vpnrs_core.testkit.tun import FakeTun

NETWORK = ip_network("10.77.0.0/24")


class Half:
    async def begin(self, attempt, credential, channel):
        return Accept(Principal("alice"))

    async def answer(self, body):
        return Accept(Principal("alice"))


class Method:
    NAME = "token"
    TAKES = frozenset({Bearer})

    def __init__(self):
        self.half = Half()

    def identify(self, credential):
        return b"who"

    def server(self):
        return self.half


class Check:
    NAME = "check"

    def __init__(self):
        self.told = []

    async def before(self, attempt):
        return Admit()

    async def after(self, attempt, outcome, authenticated):
        self.told.append((outcome, authenticated))


class Contributor:
    NAME = "contributor"

    async def contribute(self, attempt, principal):
        return Contribution()


class Allocator:
    """Three addresses, and a ledger: what was given, and what came back."""

    NAME = "ledger"
    prefixes = (NETWORK,)
    server_addresses = ((ip_address("10.77.0.1"), 24),)

    def __init__(self):
        self.free = [ip_address(f"10.77.0.{n}") for n in (2, 3, 4)]
        self.acquired, self.released = [], []

    async def acquire(self, session, principal, wanted):
        if not self.free:
            raise PoolExhausted("nothing left")
        lease = Lease(self.free.pop(0))
        self.acquired.append((session, lease))
        return [lease]

    async def release(self, session, leases):
        for lease in leases:
            self.released.append((session, lease))
            self.free.append(lease.address)


class Bench:
    """`method`, `check`, `contributor` (plugins of their own names) and `allocator` may be changed by a test before
    `attempt`."""

    def __init__(self, max_sessions=10, max_per_principal=10, resume_window=120.0, allocator=lambda ledger: ledger):
        self.method, self.check, self.contributor = Method(), Check(), Contributor()
        self.allocator = allocator(Allocator())
        self.second = Check()
        self.codec = PlainCodec()
        self.bus = EventBus()
        self.events = []
        self.bus.listen(self.events.append)
        reporter = FailureReporter(self.bus)
        drops = DropCounts()
        self.tun, self.host = FakeTun.pair()
        self.pipeline = Pipeline("server", [], drops, lambda *_: None, pools=[NETWORK])
        datapath = Datapath(self.tun, self.pipeline, drops, SingleLinkScheduler(), reporter, lambda error: None)
        self.book = LinkBook(asyncio.get_running_loop().time)
        self.sessions = ServerSessions(
            self.pipeline, datapath, self.allocator, self.bus, reporter, resume_window, 1280, self.book
        )
        judge = Judge(
            {"token": Entry("token", "p_auth", self.method)},
            [Entry("check", "p_check", self.check), Entry("second", "p_second", self.second)],
            [Entry("contributor", "p_grant", self.contributor)],
            b"key",
            reporter,
        )
        codecs = CodecSet([Entry("plain", "core", self.codec)], frozenset(), datapath)
        self.gate = ServerGate(
            judge,
            self.sessions,
            self.allocator,
            codecs,
            Contribution(),
            self.bus,
            reporter,
            max_sessions,
            max_per_principal,
        )

    async def attempt(self, **keys):
        """→ what the gate answered, once everyone has heard of it."""
        _, connection = connection_pair()
        lane = DatagramLane(connection)
        keys = {"offer": Offer(("plain",)), "resumable": True} | keys
        answer = await self.gate.open(connection, "token", Bearer("t"), protocol="vpnrs/1", lane=lane, **keys)
        await self.gate.finished()
        await self.sessions.released()
        return answer

    def failures(self):
        return [(event.plugin, event.hook) for event in self.events if isinstance(event, PluginFailed)]

    def close(self):
        self.tun.close()
        self.host.close()


@pytest.fixture
def bench():
    """A function, because a bench belongs to the loop that it was made in."""
    made = []

    def make(**keys):
        made.append(Bench(**keys))
        return made[-1]

    yield make
    for one in made:
        one.close()
