"""Session protocols: how a session is asked for and granted on a connection, chosen by ALPN."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from vpnrs_core.interfaces.authenticator import ClientHalf, Credential
from vpnrs_core.interfaces.common import Address, Network, Refuse, Seconds
from vpnrs_core.interfaces.grant import Rate
from vpnrs_core.interfaces.session import Session
from vpnrs_core.interfaces.transport import Connection, Lane, PathFacts


@dataclass(frozen=True)
class Offer:
    """What one side accepts: codec names, offload types (tcp4, tcp6, udp4, udp6) for codecs that carry them, and the
    largest inner packet in bytes, None: as large as the grant allows."""

    codecs: Sequence[str] = ("plain",)
    offloads: frozenset[str] = frozenset()
    mtu: int | None = None


@dataclass(frozen=True, repr=False)
class ResumeTicket:
    """What lets a client resume: kept by the client, one use. `generation` counts up at each use."""

    session: str
    secret: bytes
    generation: int

    def __repr__(self) -> str:
        return f"ResumeTicket({self.session!r}, generation={self.generation})"


@dataclass(frozen=True, repr=False)
class ResumeClaim:
    """A resume as presented: `proof` is HMAC-SHA-256 of `binding` with the ticket's secret; `binding` is both nonces
    and the SHA-256 of the server's SPKI."""

    session: str
    proof: bytes
    binding: bytes
    generation: int
    mode: Literal["replace", "add"] = "replace"

    def __repr__(self) -> str:
        return f"ResumeClaim({self.session!r}, {self.mode!r}, generation={self.generation})"


@dataclass(frozen=True)
class Granted:
    """A grant, as both sides see it. `addresses` are the client's, each with the prefix length of its pool; `expires`
    is POSIX seconds; `contexts` maps each accepted codec to its context id; `underlay` are addresses of the server
    that must never be routed into the tunnel; `facts` are the public ones, by plugin. `peer_offloads` are those of
    the client's peer: what the server accepts. What the client accepts stands in its Offer."""

    session: str
    principal: str
    addresses: Sequence[tuple[Address, int]]
    routes: Sequence[Network] = ()
    dns: Sequence[Address] = ()
    mtu: int = 1280
    up: Rate | None = None
    down: Rate | None = None
    expires: Seconds | None = None
    contexts: Mapping[str, int] = field(default_factory=lambda: {"plain": 0})
    peer_offloads: frozenset[str] = frozenset()
    server_addresses: Sequence[Address] = ()
    underlay: Sequence[str] = ()
    resume: ResumeTicket | None = None
    resumed: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


class OpenedLink(Protocol):
    """A link that the gate (server) or the client's engine has opened for a session."""

    @property
    def session(self) -> Session: ...
    @property
    def granted(self) -> Granted: ...
    def received(self, payloads: Sequence[bytes]) -> None:
        """A batch of payloads from the lane, prefix removed, context id still in front."""

    def writable(self) -> None:
        """The lane takes more."""

    def ext(self, codec: str, body: bytes) -> None:
        """A codec's message arrived (capsule EXT)."""

    def path_changed(self, path: PathFacts) -> None:
        """The connection's path is another, or its facts are: what fits may have changed."""

    def measured(self, rtt: Seconds) -> None:
        """A round trip of the control stream, for the statistics: what a protocol that measures none never calls."""

    def closed(self, reason: str, *, graceful: bool = False) -> None:
        """The link is gone; called once for every link that was opened, on every path. `graceful`: the peer said
        goodbye, so its leases are free at once; otherwise the session is parked when this was its last link."""


class Gate(Protocol):
    """The core's side of every request for a session: attempt → authenticate → admit → allocate → grant."""

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
        offer: Offer = Offer(),
        ask: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None = None,
        resume: ResumeClaim | None = None,
        resumable: bool = False,
        notify: GrantListener | None = None,
    ) -> OpenedLink | Refuse:
        """Once a request. `ask` sends a challenge's body to the peer and returns its answer; `channel` is what methods
        sign. A resume that is not proven is no refusal: the credential is judged as if there were no claim, and
        `Granted.resumed` says what happened. The caller sends the grant to the peer, then feeds the link."""


class LinkControl(Protocol):
    """A protocol's control stream of one link, as the core uses it."""

    @property
    def rtt(self) -> Seconds | None:
        """Smoothed, measured on the control stream; None: not yet, or the protocol does not measure it."""

    @property
    def rtt_variation(self) -> Seconds | None:
        """Its mean deviation (RFC 6298)."""

    def message(self, codec: str, body: bytes) -> None:
        """Send a codec's own message."""


@runtime_checkable
class Probes(Protocol):
    """What a LinkControl may have besides: a way to ask at once whether the peer is there."""

    @property
    def heard(self) -> Seconds:
        """When anything came from the peer last, in the loop's time."""

    def probe(self) -> None:
        """Send what the peer answers at once."""


class GrantListener(LinkControl, Protocol):
    """A protocol's side of one link: what the core tells the peer while the session lives."""

    def grant_changed(self, granted: Granted) -> None: ...
    def ended(self, refuse: Refuse) -> None:
        """Tell the peer why, and close the link."""


@dataclass(frozen=True)
class ClientRequest:
    """What a client asks for. `half` presents the credential; `wanted` are hints for addresses (a network of each
    family that the client can use)."""

    method: str
    half: ClientHalf
    wanted: Sequence[Network] = ()
    offer: Offer = Offer()
    resume: ResumeTicket | None = None
    lane: Literal["datagram", "stream"] = "datagram"
    plugins: Mapping[str, str] = field(default_factory=dict)


class ClientLink(Protocol):
    """The client's engine, as the protocol feeds it: like OpenedLink, for a grant that may change."""

    def granted(self, granted: Granted, lane: Lane, control: LinkControl) -> None:
        """WELCOME is complete; called once, before anything is received."""

    def grant_changed(self, granted: Granted) -> None: ...
    def received(self, payloads: Sequence[bytes]) -> None: ...
    def writable(self) -> None: ...
    def ext(self, codec: str, body: bytes) -> None: ...
    def path_changed(self, path: PathFacts) -> None: ...
    def measured(self, rtt: Seconds) -> None: ...


class SessionProtocol(Protocol):
    """ALPNS: the protocols it serves, preferred first. WANTS: abilities of the transport that it needs."""

    NAME: ClassVar[str]
    ALPNS: ClassVar[Sequence[str]]
    WANTS: ClassVar[frozenset[str]]

    async def serve(self, connection: Connection, gate: Gate) -> None:
        """Server: lives as long as the connection. What it raises closes this connection only."""

    async def request(self, connection: Connection, wish: ClientRequest, link: ClientLink) -> Refuse | None:
        """Client: ask for a session, then carry it until the connection ends or the task is cancelled (which says
        goodbye to the server). → the refusal, or why the server ended the session; None when the connection was
        lost. Raises PeerError for what the protocol does not allow."""
