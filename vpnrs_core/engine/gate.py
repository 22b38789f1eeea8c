"""The gate: every request for a session, from whatever protocol, takes the same course here.

identify → before of all checks → authenticate (or a proven resume) → contribute → allocate → grant → after
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.codecs import CodecSet
from vpnrs_core.engine.containment import RAISED, FailureReporter, cancelled_by_others
from vpnrs_core.engine.judge import DEADLINE, Course, Judge, Refused
from vpnrs_core.engine.renewal import granted_addresses
from vpnrs_core.engine.sessions import Running, ServerLink, ServerSessions
from vpnrs_core.events import AttemptRefused, SessionOpened, SessionResumed
from vpnrs_core.interfaces import (
    AddressAllocator,
    Attempt,
    Code,
    Connection,
    Contribution,
    Credential,
    Granted,
    GrantListener,
    Lane,
    Lease,
    Network,
    Offer,
    Principal,
    Refuse,
    ResumeClaim,
)
from vpnrs_core.interfaces.addresses import PoolExhausted
from vpnrs_core.session.grants import MergedGrant, merge
from vpnrs_core.session.leases import LeaseHolder
from vpnrs_core.session.negotiation import negotiate
from vpnrs_core.session.resume import ResumeSecrets
from vpnrs_core.session.session import SessionRecord

Ask = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
PLAIN_ONLY = Offer()


@dataclass
class Request:
    """What a protocol asked for, with the credential left out."""

    connection: Connection
    lane: Lane
    prefix: bytes
    wanted: Sequence[Network]
    offer: Offer
    resume: ResumeClaim | None
    resumable: bool
    notify: GrantListener | None


class ServerGate:
    """interfaces.Gate of a server. `base` is what the configuration itself grants to everyone."""

    def __init__(
        self,
        judge: Judge,
        sessions: ServerSessions,
        allocator: AddressAllocator,
        codecs: CodecSet,
        base: Contribution,
        bus: EventBus,
        reporter: FailureReporter,
        max_sessions: int,
        max_per_principal: int,
    ) -> None:
        self._judge = judge
        self._sessions = sessions
        self._allocator = allocator
        self._codecs = codecs
        self._base = base
        self._bus = bus
        self._reporter = reporter
        self._max_sessions = max_sessions
        self._max_per_principal = max_per_principal
        self._after: set[asyncio.Task[None]] = set()
        self.stopping = False

    def change(self, base: Contribution, max_sessions: int) -> None:
        """What attempts are granted from now on, and how many sessions there may be."""
        self._base, self._max_sessions = base, max_sessions

    async def open(
        self,
        connection: Connection,
        method: str,
        credential: Credential,
        *,
        protocol: str,
        lane: Lane,
        channel: bytes = b"",
        prefix: bytes = b"",
        wanted: Sequence[Network] = (),
        offer: Offer = PLAIN_ONLY,
        ask: Ask | None = None,
        resume: ResumeClaim | None = None,
        resumable: bool = False,
        notify: GrantListener | None = None,
    ) -> ServerLink | Refuse:
        """See interfaces.Gate. Never raises but CancelledError: what fails is a refusal."""
        request = Request(connection, lane, prefix, wanted, offer, resume, resumable, notify)
        source = _host_of(connection.path.remote)
        course = Course(Attempt(os.urandom(8).hex(), protocol, source, method, None, False))
        outcome: Code | Principal = Code.INTERNAL
        try:
            link = await self._course(request, course, credential, channel, ask)
            outcome = link.session.principal
            return link
        except Refused as refused:
            outcome = refused.refuse.code
            self._tell_refusal(course.attempt, refused.refuse)
            return refused.refuse
        except Exception as exc:
            self._reporter.report("core", "gate", exc, time.monotonic())
            refuse = Refuse(Code.INTERNAL, detail=f"{type(exc).__name__}: {exc}")
            self._tell_refusal(course.attempt, refuse)
            return refuse
        finally:
            self._tell_after(course, outcome)

    async def finished(self, within: float | None = None) -> None:
        """Wait until every check has heard of every attempt, at most `within` seconds."""
        if self._after:
            await asyncio.wait(self._after, timeout=within)

    def _tell_after(self, course: Course, outcome: Code | Principal) -> None:
        """In a task of its own: it comes also when the attempt is cancelled, and keeps no client waiting."""
        task = asyncio.get_running_loop().create_task(self._judge.after(course, outcome))
        self._after.add(task)
        task.add_done_callback(self._after.discard)

    def _tell_refusal(self, attempt: Attempt, refuse: Refuse) -> None:
        self._bus.emit(
            AttemptRefused(
                source=attempt.source,
                method=attempt.method,
                fingerprint=attempt.fingerprint.hex() if attempt.fingerprint else "",
                code=refuse.code.value,
                detail=refuse.detail,
            )
        )

    # The course of an attempt

    async def _course(
        self, request: Request, course: Course, credential: Credential, channel: bytes, ask: Ask | None
    ) -> ServerLink:
        if self.stopping:
            raise Refused(Refuse(Code.SHUTTING_DOWN))
        claimed = self._sessions.table.claim(request.resume) if request.resume is not None else None
        fingerprint = self._judge.fingerprint(course.attempt.method, credential)
        course.attempt = replace(course.attempt, fingerprint=fingerprint, resumed=claimed is not None)
        await self._judge.before(course.attempt)
        if claimed is not None:
            principal = claimed[0].principal
            course.authenticated = True
        else:
            principal = await self._judge.authenticate(course, credential, channel, ask)
        found = await self._judge.contribute(course.attempt, principal)
        # Nobody can be granted larger packets than it takes, or they would be lost behind the tunnel without a word.
        contributions = [("server", self._base), ("client", Contribution(mtu=request.offer.mtu)), *found]
        merged = merge(principal, contributions, default_mtu=self._sessions.default_mtu, wall=time.time())
        if isinstance(merged, Refuse):
            raise Refused(merged)
        if claimed is not None and request.resume is not None:
            return self._resume(request, request.resume, *claimed, merged, contributions)
        return await self._open(request, course.attempt, principal, merged, contributions)

    async def _open(
        self,
        request: Request,
        attempt: Attempt,
        principal: Principal,
        merged: MergedGrant,
        contributions: list[tuple[str, Contribution]],
    ) -> ServerLink:
        await self._make_place(principal.name)
        session = os.urandom(12).hex()
        holder = LeaseHolder(session, await self._acquire(session, principal, request.wanted))
        try:
            # Nothing below waits: leases either belong to a session in the table, or are released here.
            self._check_place(principal.name)
            record = self._record(request, session, principal, holder, merged)
            running = self._sessions.start(record, merged, contributions)
            try:
                link = self._link(request, running)
                self._sessions.carry_out(self._sessions.table.open(record, link.port))
            except BaseException:
                self._sessions.undo_start(running)
                raise
        except BaseException:
            for action in holder.release():
                self._sessions.release(action.session, action.leases)
            raise
        self._sessions.link_up(running, link)
        self._bus.emit(
            SessionOpened(
                session=session,
                principal=principal.name,
                source=attempt.source,
                addresses=tuple(str(address) for address in record.leases),
            )
        )
        return link

    def _resume(
        self,
        request: Request,
        claim: ResumeClaim,
        record: SessionRecord,
        generation: int,
        merged: MergedGrant,
        contributions: list[tuple[str, Contribution]],
    ) -> ServerLink:
        running = self._sessions.running.get(record.id)
        if running is None or record.secrets is None:
            raise Refused(Refuse(Code.INTERNAL, detail=f"session {record.id} ended while it was being resumed"))
        try:
            ticket = record.secrets.rotate(generation)
        except ValueError as exc:
            raise Refused(Refuse(Code.INTERNAL, detail=str(exc))) from exc
        running.contributions = contributions
        granted = replace(record.granted, resume=ticket, resumed=True)
        record.granted = replace(granted, contexts=negotiate(self._codecs.names, request.offer.codecs))
        link = self._link(request, running)
        self._sessions.carry_out(self._sessions.table.link_up(record.id, link.port, claim.mode))
        self._sessions.apply(running, merged)
        link.granted = record.granted
        self._sessions.link_up(running, link)
        source = _host_of(request.connection.path.remote)
        self._bus.emit(SessionResumed(session=record.id, principal=record.principal.name, source=source))
        return link

    async def _make_place(self, principal: str) -> None:
        if self._sessions.table.of_principal(principal) >= self._max_per_principal:
            await self._sessions.free_longest_parked(principal)
        if len(self._sessions.table) >= self._max_sessions:
            await self._sessions.free_longest_parked()
        self._check_place(principal)

    def _check_place(self, principal: str) -> None:
        """Asked again behind every wait: other attempts went on meanwhile."""
        if self.stopping:
            raise Refused(Refuse(Code.SHUTTING_DOWN))
        if self._sessions.table.of_principal(principal) >= self._max_per_principal:
            detail = f"{principal} has {self._max_per_principal} sessions, as many as one principal may"
            raise Refused(Refuse(Code.SERVER_FULL, detail=detail))
        if len(self._sessions.table) >= self._max_sessions:
            raise Refused(Refuse(Code.SERVER_FULL, detail=f"{self._max_sessions} sessions are open"))

    async def _acquire(self, session: str, principal: Principal, wanted: Sequence[Network]) -> Sequence[Lease]:
        """Leases. An exhausted pool takes back those of the session that has been parked longest."""
        while True:
            try:
                async with asyncio.timeout(DEADLINE) as limit:
                    leases = await self._allocator.acquire(session, principal, wanted)
            except PoolExhausted as exc:
                if not await self._sessions.free_longest_parked():
                    raise Refused(Refuse(Code.POOL_EXHAUSTED, detail=str(exc))) from exc
            except RAISED as exc:
                if isinstance(exc, asyncio.CancelledError) and cancelled_by_others():
                    raise
                self._allocator_failed(f"took longer than {DEADLINE:g} s" if limit.expired() else exc)
            else:
                if leases and all(isinstance(lease, Lease) for lease in leases):
                    return leases
                self._allocator_failed(f"returned {leases!r}, no leases")

    def _allocator_failed(self, what: BaseException | str) -> NoReturn:
        self._reporter.report(self._allocator.NAME, "acquire", what, time.monotonic())
        text = what if isinstance(what, str) else f"{type(what).__name__}: {what}"
        raise Refused(Refuse(Code.INTERNAL, detail=f"allocator {self._allocator.NAME}, acquire: {text}"))

    # What an attempt comes to

    def _record(
        self, request: Request, session: str, principal: Principal, holder: LeaseHolder, merged: MergedGrant
    ) -> SessionRecord:
        secrets = ResumeSecrets(session, os.urandom) if request.resumable else None
        granted = Granted(
            session=session,
            principal=principal.name,
            addresses=granted_addresses(holder.leases, self._allocator.prefixes),
            contexts=negotiate(self._codecs.names, request.offer.codecs),
            peer_offloads=self._codecs.offloads,
            server_addresses=tuple(address for address, _ in self._allocator.server_addresses),
            resume=secrets.ticket if secrets is not None else None,
        )
        return SessionRecord(
            session,
            principal,
            holder,
            ServerSessions.with_grant(granted, merged, self._sessions.first_mtu(merged)),
            on_end=self._sessions.end_later,
            on_change=self._sessions.change_later,
            secrets=secrets,
            expires_at=self._sessions.monotonic(merged.expires),
            facts=merged.facts,
            counters=lambda: self._counters(session),
        )

    def _counters(self, session: str) -> Mapping[str, int]:
        running = self._sessions.running.get(session)
        return {} if running is None else running.peer.counters.as_dict()

    def _link(self, request: Request, running: Running) -> ServerLink:
        granted = running.record.granted
        notify = request.notify
        message = notify.message if notify is not None else None
        port = self._codecs.link(
            request.connection,
            request.lane,
            granted.contexts,
            request.offer.offloads,
            running.wrappers,
            prefix=request.prefix,
            send_message=message,
        )
        return ServerLink(self._sessions, running, port, granted, notify)


def _host_of(where: str) -> str:
    """`[fd00::1]:4433` → `fd00::1`."""
    return where.rpartition(":")[0].strip("[]") or where
