"""The client's handshake as a table: HELLO, challenges, WELCOME with addresses and routes, and the open session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ClassVar

from vpnrs_core.errors import PeerError
from vpnrs_core.interfaces.common import Code, Network, Refuse
from vpnrs_core.interfaces.protocol import ClientRequest, Granted, ResumeTicket
from vpnrs_core.session.handshake import (
    MAX_ROUNDS,
    SERVER_SILENCE,
    Action,
    Challenged,
    Configure,
    Dead,
    Deliver,
    Failed,
    Finish,
    Lost,
    Machine,
    PongSeen,
    Reconfigure,
    Send,
    Tell,
    Violation,
    close_message,
    from_assign,
    from_terms,
    printable,
    refusal,
    refusal_of_close,
)
from vpnrs_core.session.negotiation import check_contexts
from vpnrs_core.session.resume import binding, channel, make_proof
from vpnrs_core.wire.addresses import AddressAssign, RouteAdvertisement, to_networks
from vpnrs_core.wire.codepoints import CLOSE_CODES, CLOSE_DEAD, CLOSE_NORMAL, VERSION
from vpnrs_core.wire.messages import (
    Auth,
    ChallengeMessage,
    Close,
    Control,
    Ext,
    Hello,
    Ping,
    Pong,
    RejectMessage,
    ResumeWish,
    Update,
    Welcome,
    decode_message,
)


class ClientState(Enum):
    NEW = "new"
    WAITING = "waiting for WELCOME"
    ANSWERING = "answering a challenge"
    ADDRESSES = "waiting for ADDRESS_ASSIGN"
    ROUTES = "waiting for ROUTE_ADVERTISEMENT"
    OPEN = "open"
    CLOSED = "closed"


# Local inputs


@dataclass(frozen=True, repr=False)
class Start:
    """The connection is there and the server's identity verified; `credential` is the method's first."""

    credential: Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Answered:
    """The method's answer to a challenge."""

    body: Mapping[str, Any]


@dataclass(frozen=True)
class Stop:
    """The user leaves."""


class ClientHandshake(Machine[ClientState]):
    """One connection's. `nonce` is 32 random bytes; `lane` what to ask for: "datagram" or "stream"."""

    CLOSED = ClientState.CLOSED

    def __init__(self, wish: ClientRequest, nonce: bytes, alpn: str, server_spki: bytes, *, lane: str) -> None:
        super().__init__(ClientState.NEW, None)
        self._wish = wish
        self._nonce = nonce
        self._alpn = alpn
        self._spki = server_spki
        self._lane = lane
        self._server_nonce: bytes | None = None
        self._proved = False
        self._rounds = 0
        self._welcome: Welcome | None = None
        self._assign = AddressAssign()
        self._routes: tuple[Network, ...] = ()
        self._granted: Granted | None = None

    def read(self, kind: int, value: bytes) -> Control:
        """A capsule as an input. Raises PeerError."""
        return decode_message(kind, value)

    # Until the session is open

    def _on_start(self, start: Start) -> list[Action]:
        wish, ticket = self._wish, self._wish.resume
        resume = None if ticket is None else ResumeWish(session=ticket.session, generation=ticket.generation)
        hello = Hello(
            versions=[VERSION],
            method=wish.method,
            nonce=self._nonce,
            credential=dict(start.credential),
            codecs=list(wish.offer.codecs),
            offloads=sorted(wish.offer.offloads),
            mtu=wish.offer.mtu,
            lane="stream" if self._lane == "stream" else "datagram",
            wanted=list(wish.wanted),
            resume=resume,
            plugins=dict(wish.plugins),
        )
        self._wait(ClientState.WAITING)
        return [Send(hello)]

    def _wait(self, state: ClientState) -> None:
        self.state, self.deadline = state, self.now + SERVER_SILENCE

    def _on_challenge(self, challenge: ChallengeMessage) -> list[Action]:
        if self._server_nonce not in (None, challenge.nonce):
            return self._on_violation(Violation("CHALLENGE: nonce: is another than before"))
        self._server_nonce = challenge.nonce
        if challenge.about == "resume":
            return self._prove(challenge.nonce)
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            return self._on_violation(Violation(f"more than {MAX_ROUNDS} challenges"))
        self.state, self.deadline = ClientState.ANSWERING, None
        return [Challenged(challenge.body, channel(self._alpn, self._nonce, challenge.nonce, self._spki, "client"))]

    def _prove(self, server_nonce: bytes) -> list[Action]:
        ticket = self._wish.resume
        if ticket is None or self._proved or self._rounds:
            return self._on_violation(Violation("CHALLENGE: a resume proof is not due"))
        self._proved = True
        self._wait(ClientState.WAITING)
        return [Send(Auth(proof=make_proof(ticket.secret, binding(self._nonce, server_nonce, self._spki))))]

    def _on_answered(self, answered: Answered) -> list[Action]:
        self._wait(ClientState.WAITING)
        return [Send(Auth(body=dict(answered.body)))]

    def _on_welcome(self, welcome: Welcome) -> list[Action]:
        try:
            check_contexts(welcome.codecs, self._wish.offer.codecs)
        except PeerError as error:
            return self._on_violation(Violation(str(error)))
        if welcome.lane == "datagram" and self._lane == "stream":
            return self._on_violation(Violation("WELCOME: lane: is not the one asked for"))
        self._welcome = welcome
        self._wait(ClientState.ADDRESSES)
        return []

    def _on_first_assign(self, assign: AddressAssign) -> list[Action]:
        self._assign = assign
        self._wait(ClientState.ROUTES)
        return []

    def _on_first_routes(self, routes: RouteAdvertisement) -> list[Action]:
        welcome = self._welcome
        assert welcome is not None
        actions = self._on_routes(routes)
        if self.closed:
            return actions
        ticket = welcome.resume
        granted = Granted(
            session=welcome.session,
            principal=printable(welcome.principal),
            addresses=from_assign(self._assign, welcome.terms.pools),
            routes=self._routes,
            contexts=dict(welcome.codecs),
            peer_offloads=frozenset(welcome.offloads),
            resume=None if ticket is None else ResumeTicket(welcome.session, ticket.secret, ticket.generation),
            resumed=welcome.resumed,
            **from_terms(welcome.terms),
        )
        self._granted, self.state, self.deadline = granted, ClientState.OPEN, None
        return [Configure(granted, welcome.lane)]

    # The open session

    def _on_assign(self, assign: AddressAssign) -> list[Action]:
        """Replaces the list; takes effect with the next UPDATE, so that no half of a change is ever configured."""
        self._assign = assign
        return []

    def _on_routes(self, routes: RouteAdvertisement) -> list[Action]:
        """Like the addresses."""
        try:
            self._routes = to_networks(routes.ranges)
        except PeerError as error:
            return self._on_violation(Violation(str(error)))
        return []

    def _on_update(self, update: Update) -> list[Action]:
        assert self._granted is not None
        terms = update.terms
        addresses = from_assign(self._assign, terms.pools)
        granted = replace(self._granted, addresses=addresses, routes=self._routes, **from_terms(terms))
        if granted == self._granted:
            return []
        self._granted = granted
        return [Reconfigure(granted)]

    def _on_ping(self, ping: Ping) -> list[Action]:
        return [Send(Pong(id=ping.id))]

    def _on_pong(self, pong: Pong) -> list[Action]:
        return [PongSeen(pong.id)]

    def _on_ext(self, ext: Ext) -> list[Action]:
        return [Deliver(ext.codec, ext.body)]

    def _on_tell(self, tell: Tell) -> list[Action]:
        return [Send(Ext(codec=tell.codec, body=tell.body))]

    # Ways to the end

    def _on_reject(self, reject: RejectMessage) -> list[Action]:
        refuse = refusal(reject)
        return self.finish(Finish(refuse, refuse.detail, CLOSE_NORMAL))

    def _on_close(self, close: Close) -> list[Action]:
        refuse = refusal(close)
        return self.finish(Finish(refuse, refuse.detail, CLOSE_NORMAL))

    def _on_stop(self, _: Stop) -> list[Action]:
        return self.finish(Finish(None, "stopped", CLOSE_NORMAL, graceful=True), Send(Close()))

    def _on_violation(self, violation: Violation) -> list[Action]:
        refuse = Refuse(Code.PROTOCOL, detail=violation.text)
        finish = Finish(refuse, violation.text, CLOSE_CODES[refuse.code], blame=violation.text)
        return self.finish(finish, Send(close_message(refuse, violation.text)))

    def _on_failed(self, failed: Failed) -> list[Action]:
        refuse = Refuse(Code.INTERNAL, detail=failed.detail)
        return self.finish(Finish(refuse, failed.detail, CLOSE_CODES[refuse.code]), Send(close_message(refuse)))

    def _on_lost(self, lost: Lost) -> list[Action]:
        """The close code tells why, if the message that said so did not arrive."""
        return self.finish(
            Finish(refusal_of_close(lost), f"connection lost ({lost.reason or lost.code})", CLOSE_NORMAL)
        )

    def _on_dead(self, _: Dead) -> list[Action]:
        return self.finish(Finish(None, "no sign of life", CLOSE_DEAD))

    EVERYWHERE: ClassVar[Mapping[type, Callable[..., list[Action]]]] = {
        Violation: _on_violation,
        Failed: _on_failed,
        Lost: _on_lost,
        Stop: _on_stop,
        Close: _on_close,
    }
    TABLE: ClassVar[Mapping[tuple[ClientState, type], Callable[..., list[Action]]]] = {
        (ClientState.NEW, Start): _on_start,
        (ClientState.WAITING, ChallengeMessage): _on_challenge,
        (ClientState.WAITING, Welcome): _on_welcome,
        (ClientState.WAITING, RejectMessage): _on_reject,
        (ClientState.ANSWERING, Answered): _on_answered,
        (ClientState.ANSWERING, RejectMessage): _on_reject,
        (ClientState.ADDRESSES, AddressAssign): _on_first_assign,
        (ClientState.ROUTES, RouteAdvertisement): _on_first_routes,
        (ClientState.OPEN, Update): _on_update,
        (ClientState.OPEN, AddressAssign): _on_assign,
        (ClientState.OPEN, RouteAdvertisement): _on_routes,
        (ClientState.OPEN, Ping): _on_ping,
        (ClientState.OPEN, Pong): _on_pong,
        (ClientState.OPEN, Ext): _on_ext,
        (ClientState.OPEN, Tell): _on_tell,
        (ClientState.OPEN, Dead): _on_dead,
    }
