"""A gate and a client's link for tests of session protocols: they grant, ask, refuse or raise as a test says, and
write down everything that they hear."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from vpnrs_core.interfaces.authenticator import Credential
from vpnrs_core.interfaces.common import Network, Refuse, Seconds
from vpnrs_core.interfaces.grant import Principal
from vpnrs_core.interfaces.protocol import Granted, GrantListener, LinkControl, Offer, ResumeClaim
from vpnrs_core.interfaces.session import Session
from vpnrs_core.interfaces.transport import Connection, Lane, PathFacts
from vpnrs_core.session.leases import LeaseHolder
from vpnrs_core.session.resume import ResumeSecrets
from vpnrs_core.session.session import SessionRecord

GRANTED = Granted(
    session="s1",
    principal="alice",
    addresses=((IPv4Address("10.77.0.2"), 24), (IPv6Address("fd77::2"), 64)),
    routes=(IPv4Network("10.0.0.0/8"), IPv6Network("fd00::/16")),
    dns=(IPv4Address("10.77.0.1"),),
    server_addresses=(IPv4Address("10.77.0.1"),),
)
PLAIN_ONLY = Offer()


@dataclass
class Request:
    """What a gate was asked."""

    method: str
    credential: Credential
    lane: Lane
    channel: bytes
    wanted: Sequence[Network]
    offer: Offer
    resume: ResumeClaim | None
    notify: GrantListener | None


class FakeLink:
    """interfaces.OpenedLink that remembers. `closings` must have one entry at the end of every test."""

    def __init__(self, granted: Granted) -> None:
        self.granted = granted
        holder = LeaseHolder(granted.session)
        self.session: Session = SessionRecord(
            granted.session, Principal(granted.principal), holder, granted, on_end=_nothing, on_change=_nothing
        )
        self.payloads: list[bytes] = []
        self.messages: list[tuple[str, bytes]] = []
        self.paths: list[PathFacts] = []
        self.round_trips: list[Seconds] = []
        self.writables = 0
        self.closings: list[tuple[str, bool]] = []

    def received(self, payloads: Sequence[bytes]) -> None:
        self.payloads.extend(payloads)

    def writable(self) -> None:
        self.writables += 1

    def ext(self, codec: str, body: bytes) -> None:
        self.messages.append((codec, body))

    def path_changed(self, path: PathFacts) -> None:
        self.paths.append(path)

    def measured(self, rtt: Seconds) -> None:
        self.round_trips.append(rtt)

    def closed(self, reason: str, *, graceful: bool = False) -> None:
        self.closings.append((reason, graceful))


@dataclass
class FakeGate:
    """interfaces.Gate. `verdict`: the grant, a refusal, or what `open` raises. `questions` are asked first.
    `secrets` make it resumable; `delay` is how long it thinks, in seconds."""

    verdict: Granted | Refuse | Exception = GRANTED
    questions: Sequence[Mapping[str, Any]] = ()
    secrets: ResumeSecrets | None = None
    delay: float = 0.0
    requests: list[Request] = field(default_factory=list)
    answers: list[Mapping[str, Any]] = field(default_factory=list)
    links: list[FakeLink] = field(default_factory=list)

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
        ask: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None = None,
        resume: ResumeClaim | None = None,
        resumable: bool = False,
        notify: GrantListener | None = None,
    ) -> FakeLink | Refuse:
        self.requests.append(Request(method, credential, lane, channel, wanted, offer, resume, notify))
        if self.delay:
            await asyncio.sleep(self.delay)
        resumed = self._resume(resume)
        if not resumed and ask is not None:
            for question in self.questions:
                self.answers.append(await ask(question))
        if isinstance(self.verdict, Exception):
            raise self.verdict
        if isinstance(self.verdict, Refuse):
            return self.verdict
        ticket = self.secrets.ticket if self.secrets else None
        link = FakeLink(replace(self.verdict, resumed=resumed, resume=ticket))
        self.links.append(link)
        return link

    def _resume(self, claim: ResumeClaim | None) -> bool:
        used = self.secrets.verify(claim) if claim is not None and self.secrets is not None else None
        if used is None or self.secrets is None:
            return False
        self.secrets.rotate(used)
        return True


class FakeClientLink:
    """interfaces.ClientLink that remembers."""

    def __init__(self) -> None:
        self.grants: list[Granted] = []
        self.changes: list[Granted] = []
        self.payloads: list[bytes] = []
        self.messages: list[tuple[str, bytes]] = []
        self.paths: list[PathFacts] = []
        self.round_trips: list[Seconds] = []
        self.writables = 0
        self.lane: Lane | None = None
        self.control: LinkControl | None = None

    def granted(self, granted: Granted, lane: Lane, control: LinkControl) -> None:
        self.grants.append(granted)
        self.lane, self.control = lane, control

    def grant_changed(self, granted: Granted) -> None:
        self.changes.append(granted)

    def received(self, payloads: Sequence[bytes]) -> None:
        self.payloads.extend(payloads)

    def writable(self) -> None:
        self.writables += 1

    def ext(self, codec: str, body: bytes) -> None:
        self.messages.append((codec, body))

    def path_changed(self, path: PathFacts) -> None:
        self.paths.append(path)

    def measured(self, rtt: Seconds) -> None:
        self.round_trips.append(rtt)


def _nothing(*_: object) -> None:
    """What a session asks of a core that is not there."""
