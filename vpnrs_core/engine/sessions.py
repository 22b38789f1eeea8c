"""The server's sessions while they run: carries out what the session table decides, on links, pipeline and leases."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.containment import FailureReporter
from vpnrs_core.engine.datapath import Datapath
from vpnrs_core.engine.judge import DEADLINE
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.engine.linkbook import LinkBook
from vpnrs_core.engine.renewal import LeaseRenewal, granted_addresses
from vpnrs_core.events import MtuChanged, PathChanged, SessionChanged, SessionClosed, SessionParked
from vpnrs_core.interfaces import (
    AddressAllocator,
    Contribution,
    Granted,
    GrantListener,
    Lease,
    PathFacts,
    Refuse,
    Seconds,
    Wrapper,
)
from vpnrs_core.pipeline.pipeline import Peer, Pipeline
from vpnrs_core.session.grants import FIRST_MTU, MergedGrant, merge, within
from vpnrs_core.session.leases import ReleaseLeases
from vpnrs_core.session.session import SessionRecord
from vpnrs_core.session.table import Action, CloseLink, Ended, Parked, SessionTable, carry_out

# Seconds that a path may take to be known before packets are sent on it all the same.
PATIENCE = 0.25


@dataclass
class Running:
    """What the engine keeps of one session besides its record. `contributions` made its grant, in order; `cap` is the
    MTU that they came to."""

    record: SessionRecord
    peer: Peer
    opened_at: float
    contributions: list[tuple[str, Contribution]]
    cap: int
    links: dict[LinkPort, ServerLink] = field(default_factory=dict)
    wrappers: dict[str, Wrapper] = field(default_factory=dict)


class ServerLink:
    """interfaces.OpenedLink: one link of a session, as its protocol feeds it."""

    def __init__(
        self, sessions: ServerSessions, running: Running, port: LinkPort, granted: Granted, notify: GrantListener | None
    ) -> None:
        self._sessions = sessions
        self.running = running
        self.port = port
        self.granted = granted
        self.notify = notify
        self.attached = False
        self._closed = False

    @property
    def session(self) -> SessionRecord:
        return self.running.record

    def received(self, payloads: Sequence[bytes]) -> None:
        self._sessions.datapath.received(self.running.peer, self.port, payloads)

    def writable(self) -> None:
        self._sessions.datapath.writable(self.running.peer, self.port)

    def ext(self, codec: str, body: bytes) -> None:
        self.port.heard(codec, body)

    def path_changed(self, path: PathFacts) -> None:
        if self.port.prober is not None:
            self.port.prober.path_changed()
        self._sessions.book.moved(self.port, path)
        self._sessions.bus.emit(PathChanged(session=self.session.id, local=path.local, remote=path.remote))

    def measured(self, rtt: Seconds) -> None:
        self._sessions.book.measured(rtt)

    def closed(self, reason: str, *, graceful: bool = False) -> None:
        if not self._closed:
            self._closed = True
            self._sessions.link_closed(self, reason, graceful)


class ServerSessions:
    """Used from the loop's thread only. `now` is the loop's clock."""

    def __init__(
        self,
        pipeline: Pipeline,
        datapath: Datapath,
        allocator: AddressAllocator,
        bus: EventBus,
        reporter: FailureReporter,
        resume_window: float,
        default_mtu: int,
        book: LinkBook,
        *,
        auto_mtu: bool = False,
        on_mtu: Callable[[], None] = lambda: None,
    ) -> None:
        """`auto_mtu`: sessions have what their paths carry, `default_mtu` at most. `on_mtu` hears when a session's MTU
        is another, or a session has ended."""
        self.auto_mtu = auto_mtu
        self.on_mtu = on_mtu
        self.table = SessionTable(os.urandom, resume_window)
        self.running: dict[str, Running] = {}
        self.datapath = datapath
        self.bus = bus
        self.default_mtu = default_mtu
        self.book = book
        self._pipeline = pipeline
        self._allocator = allocator
        self._reporter = reporter
        self._loop = asyncio.get_running_loop()
        self._renewal = LeaseRenewal(allocator, reporter, self._renewed, self.end)
        self._renewing: dict[str, asyncio.Task[None]] = {}
        self._releases: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    # A session begins, changes, ends

    def start(
        self, record: SessionRecord, merged: MergedGrant, contributions: list[tuple[str, Contribution]]
    ) -> Running:
        """Give a granted session its place in the pipeline. Raises PluginError when a stage cannot be bound."""
        peer = self._pipeline.open(record, mtu=record.granted.mtu, up=merged.up, down=merged.down)
        running = Running(record, peer, self._loop.time(), contributions, merged.mtu)
        self.running[record.id] = running
        return running

    def undo_start(self, running: Running) -> None:
        """The session came to nothing before it reached the table."""
        self.running.pop(running.record.id, None)
        self._pipeline.close(running.peer, "refused")

    def link_up(self, running: Running, link: ServerLink) -> None:
        """The link carries the session's packets from now on."""
        running.links[link.port] = link
        record = running.record
        if record.id not in self._renewing and self._renewal.needed(record):
            self._renewing[record.id] = self._loop.create_task(self._renewal.keep(record))
        self.book.up(link.port)
        if not link.port.start_probing(lambda: self._resized(link)) or not self.auto_mtu:
            self._attach(link)
        else:
            # What is sent before the path is known would be cut to the guess, and its senders told to keep to that.
            self._loop.call_later(PATIENCE, self._attach, link)
        self._set_timer()

    def _attach(self, link: ServerLink) -> None:
        """Packets leave by this link from now on."""
        if not link.attached and link.port in link.running.links:
            link.attached = True
            self.datapath.attach(link.running.peer, link.port)

    def _resized(self, link: ServerLink) -> None:
        """The link's path carries more, or less, than was known."""
        self._attach(link)
        running, record = link.running, link.session
        mtu = self._mtu_of(running)
        if mtu != record.granted.mtu and link.port in running.links:
            record.granted = replace(record.granted, mtu=mtu)
            self._in_force(running)
            payload = link.port.prober.payload if link.port.prober is not None else 0
            self.bus.emit(MtuChanged(session=record.id, mtu=mtu, payload=payload))
            self.on_mtu()

    def first_mtu(self, merged: MergedGrant) -> int:
        """Of a session whose path nobody knows yet."""
        return min(merged.mtu, FIRST_MTU) if self.auto_mtu else merged.mtu

    def _mtu_of(self, running: Running) -> int:
        """What fits the links, within the grant; until that is known, what the session had."""
        granted = running.record.granted
        if not self.auto_mtu:
            return running.cap
        known = [port.inner_mtu() for port in running.links if port.size_known]
        return within(min(known, default=granted.mtu), running.cap, [address for address, _ in granted.addresses])

    def link_closed(self, link: ServerLink, reason: str, graceful: bool) -> None:
        """A protocol says that its link is gone."""
        running = link.running
        self._detach(running, link.port)
        session = running.record.id
        self.carry_out(self.table.link_down(session, link.port, self._loop.time(), graceful=graceful, reason=reason))

    def end(self, session: str, refuse: Refuse) -> None:
        self.carry_out(self.table.end(session, refuse))

    def end_later(self, record: SessionRecord, refuse: Refuse) -> None:
        """Session.end: after the current turn, so that a stage may call it."""
        self._loop.call_soon(self.end, record.id, refuse)

    def change_later(self, record: SessionRecord, contribution: Contribution) -> None:
        """Session.change: after the current turn."""
        self._loop.call_soon(self._change, record, contribution)

    def _change(self, record: SessionRecord, contribution: Contribution) -> None:
        running = self.running.get(record.id)
        if running is None:
            return
        contributions = [*running.contributions, ("session.change", contribution)]
        merged = merge(record.principal, contributions, default_mtu=self.default_mtu, wall=time.time())
        if isinstance(merged, Refuse):
            # A change that contradicts the grant must not leave the old one in force as if nothing had been asked.
            self.end(record.id, merged)
            return
        running.contributions = contributions
        self.apply(running, merged)
        self.bus.emit(SessionChanged(session=record.id, principal=record.principal.name, what="grant"))

    def _renewed(self, record: SessionRecord, leases: Sequence[Lease]) -> None:
        """New addresses are in force everywhere before the old ones can be leased again."""
        running = self.running.get(record.id)
        before = record.leases
        released = record.holder.replace(leases)
        if running is not None and record.leases != before:
            addresses = granted_addresses(record.holder.leases, self._allocator.prefixes)
            record.granted = replace(record.granted, addresses=addresses)
            self._in_force(running)
            self.bus.emit(SessionChanged(session=record.id, principal=record.principal.name, what="addresses"))
        self.carry_out(list(released))

    def apply(self, running: Running, merged: MergedGrant) -> None:
        """Put a grant in force and tell the peer on every link."""
        record = running.record
        running.cap = merged.mtu
        record.granted = self.with_grant(record.granted, merged, self._mtu_of(running))
        record.facts = merged.facts
        record.expires_at = self.monotonic(merged.expires)
        self._in_force(running)
        self._set_timer()

    def _in_force(self, running: Running) -> None:
        granted = running.record.granted
        self._pipeline.change(running.peer, mtu=granted.mtu, up=granted.up, down=granted.down)
        for link in running.links.values():
            if link.notify is not None:
                link.notify.grant_changed(granted)

    @staticmethod
    def with_grant(granted: Granted, merged: MergedGrant, mtu: int) -> Granted:
        """The grant with what the contributions came to, and the MTU that the path allows of it."""
        return replace(
            granted,
            routes=merged.routes,
            dns=merged.dns,
            mtu=mtu,
            up=merged.up,
            down=merged.down,
            expires=merged.expires,
            facts=merged.public_facts(),
        )

    def monotonic(self, expires: float | None) -> float | None:
        """A POSIX time as the loop's."""
        return None if expires is None else self._loop.time() + (expires - time.time())

    async def free_longest_parked(self, principal: str | None = None) -> bool:
        """End the session that has been parked longest (of this principal), its leases released. False: none is
        parked."""
        actions = self.table.take_longest_parked(principal)
        self.carry_out(actions)
        await self.released()
        return bool(actions)

    async def stop(self, refuse: Refuse, within: float | None = None) -> None:
        """End all sessions and wait until their leases are given back, at most `within` seconds."""
        for record in self.table:
            self.end(record.id, refuse)
        if self._timer is not None:
            self._timer.cancel()
        await self.released(within)

    async def released(self, within: float | None = None) -> None:
        """Wait for all releases under way, at most `within` seconds."""
        if self._releases:
            await asyncio.wait(self._releases, timeout=within)

    # What the table decides

    def carry_out(self, actions: list[Action]) -> None:
        carry_out(actions, self._do, self._failed)
        self._set_timer()

    def _do(self, action: Action) -> None:
        if isinstance(action, CloseLink):
            self._close_link(action)
        elif isinstance(action, Parked):
            record = action.session
            self.bus.emit(
                SessionParked(
                    session=record.id,
                    principal=record.principal.name,
                    window=self.table.resume_window,
                    reason=action.reason,
                )
            )
        elif isinstance(action, Ended):
            self._ended(action)
        elif isinstance(action, ReleaseLeases):
            self.release(action.session, action.leases)

    def _close_link(self, action: CloseLink) -> None:
        running = self.running[action.session.id]
        assert isinstance(action.link, LinkPort)
        link = self._detach(running, action.link)
        if link is not None and link.notify is not None:
            link.notify.ended(action.refuse)

    def _ended(self, action: Ended) -> None:
        record = action.session
        running = self.running.pop(record.id)
        renewing = self._renewing.pop(record.id, None)
        if renewing is not None and renewing is not asyncio.current_task():
            renewing.cancel()
        counters = running.peer.counters.as_dict()
        self._pipeline.close(running.peer, action.reason)
        self.bus.emit(
            SessionClosed(session=record.id, principal=record.principal.name, reason=action.reason, counters=counters)
        )
        self.on_mtu()

    def _detach(self, running: Running, port: LinkPort) -> ServerLink | None:
        self.datapath.detach(running.peer, port)
        self.book.down(port)
        return running.links.pop(port, None)

    def release(self, session: str, leases: tuple[Lease, ...]) -> None:
        """Give leases back; a failing allocator is named and costs nobody else anything."""
        task = self._loop.create_task(self._release(session, leases))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _release(self, session: str, leases: tuple[Lease, ...]) -> None:
        try:
            async with asyncio.timeout(DEADLINE) as limit:
                await self._allocator.release(session, leases)
        except Exception as exc:
            what = f"took longer than {DEADLINE:g} s" if limit.expired() else exc
            self._reporter.report(self._allocator.NAME, "release", what, self._loop.time())

    def _failed(self, action: Action, exc: Exception) -> None:
        self._reporter.report("core", type(action).__name__, exc, self._loop.time())

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.table.next_deadline()
        if due is not None:
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.carry_out(self.table.tick(self._loop.time()))
