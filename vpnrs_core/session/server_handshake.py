"""The server's handshake as a table: version gate, resume proof, the gate's verdict, the grant, the open session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from vpnrs_core.interfaces.common import Code, Refuse, Seconds
from vpnrs_core.interfaces.protocol import Granted, ResumeClaim
from vpnrs_core.session.handshake import (
    ANSWER_DEADLINE,
    HELLO_DEADLINE,
    MAX_ROUNDS,
    Action,
    Answer,
    Configure,
    Dead,
    Deliver,
    Failed,
    Finish,
    Judge,
    Lost,
    Machine,
    PongSeen,
    Send,
    Tell,
    Violation,
    close_message,
    reject_message,
    to_assign,
    to_terms,
)
from vpnrs_core.session.resume import binding, channel
from vpnrs_core.wire.addresses import (
    UNSPECIFIED,
    AddressAssign,
    AddressRequest,
    PrefixEntry,
    RouteAdvertisement,
    to_ranges,
)
from vpnrs_core.wire.codepoints import CLOSE_CODES, CLOSE_DEAD, CLOSE_NORMAL, VERSION, CapsuleType
from vpnrs_core.wire.messages import (
    Auth,
    ChallengeMessage,
    Close,
    Control,
    Ext,
    Hello,
    Ping,
    Pong,
    Ticket,
    Update,
    Welcome,
    decode_message,
    encode_message,
    offered_versions,
)


class ServerState(Enum):
    HELLO = "waiting for HELLO"
    PROOF = "waiting for a resume proof"
    JUDGING = "judging"
    ANSWER = "waiting for an answer to a challenge"
    OPEN = "open"
    CLOSED = "closed"


# Local inputs


@dataclass(frozen=True)
class WrongVersion:
    """HELLO offers no version that this server speaks."""


@dataclass(frozen=True, repr=False)
class Ask:
    """The gate has a question for the peer."""

    body: Mapping[str, Any]


@dataclass(frozen=True)
class Refused:
    """The gate's no."""

    refuse: Refuse


@dataclass(frozen=True)
class Opened:
    """The gate's yes. `lane` is the one that the session will use."""

    granted: Granted
    lane: str


@dataclass(frozen=True)
class Changed:
    granted: Granted


@dataclass(frozen=True)
class End:
    """The core ends the session."""

    refuse: Refuse


class ServerHandshake(Machine[ServerState]):
    """One connection's. `nonce` is 32 random bytes of the server's own."""

    CLOSED = ServerState.CLOSED

    def __init__(self, nonce: bytes, alpn: str, server_spki: bytes, now: Seconds) -> None:
        super().__init__(ServerState.HELLO, now + HELLO_DEADLINE)
        self._nonce = nonce
        self._alpn = alpn
        self._spki = server_spki
        self._hello: Hello | None = None
        self._granted: Granted | None = None
        self._rounds = 0

    def read(self, kind: int, value: bytes) -> Control | WrongVersion:
        """A capsule as an input; the version gate comes before anything else in HELLO. Raises PeerError."""
        first = kind == CapsuleType.HELLO and self.state is ServerState.HELLO
        if first and VERSION not in offered_versions(value):
            return WrongVersion()
        return decode_message(kind, value)

    @property
    def hello(self) -> Hello:
        if self._hello is None:
            raise ValueError("no HELLO yet")
        return self._hello

    def channel(self) -> bytes:
        """What the client's method signs. Known once HELLO is."""
        return channel(self._alpn, self.hello.nonce, self._nonce, self._spki, "client")

    def more_rounds(self) -> bool:
        return self._rounds < MAX_ROUNDS

    # Until the session is open

    def _on_hello(self, hello: Hello) -> list[Action]:
        self._hello = hello
        if hello.resume is None:
            return self._judge(None)
        self.state, self.deadline = ServerState.PROOF, self.now + ANSWER_DEADLINE
        return [Send(ChallengeMessage(nonce=self._nonce, about="resume"))]

    def _on_proof(self, auth: Auth) -> list[Action]:
        wish = self.hello.resume
        if auth.proof is None or wish is None:
            return self._on_violation(Violation("AUTH: proof: is missing"))
        bound = binding(self.hello.nonce, self._nonce, self._spki)
        return self._judge(ResumeClaim(wish.session, auth.proof, bound, wish.generation, wish.mode))

    def _judge(self, claim: ResumeClaim | None) -> list[Action]:
        self.state, self.deadline = ServerState.JUDGING, None
        return [Judge(self.hello, claim)]

    def _on_ask(self, ask: Ask) -> list[Action]:
        self._rounds += 1
        self.state, self.deadline = ServerState.ANSWER, self.now + ANSWER_DEADLINE
        return [Send(ChallengeMessage(nonce=self._nonce, about="method", body=dict(ask.body)))]

    def _on_answer(self, auth: Auth) -> list[Action]:
        self.state, self.deadline = ServerState.JUDGING, None
        return [Answer(auth.body)]

    def _on_opened(self, opened: Opened) -> list[Action]:
        granted = opened.granted
        try:
            welcome = self._welcome(granted, opened.lane)
            first: list[Control] = [welcome, to_assign(granted), RouteAdvertisement(to_ranges(granted.routes))]
            for message in first:
                encode_message(message)
        except ValueError as error:
            return self._on_refused(Refused(Refuse(Code.INTERNAL, detail=f"the grant does not fit the wire: {error}")))
        self.state, self._granted = ServerState.OPEN, granted
        return [*(Send(message) for message in first), Configure(granted, opened.lane)]

    def _welcome(self, granted: Granted, lane: str) -> Welcome:
        ticket = granted.resume
        return Welcome(
            version=1,
            session=granted.session,
            principal=granted.principal,
            lane="stream" if lane == "stream" else "datagram",
            codecs=dict(granted.contexts),
            offloads=sorted(granted.peer_offloads),
            resumed=granted.resumed,
            resume=None if ticket is None else Ticket(secret=ticket.secret, generation=ticket.generation),
            terms=to_terms(granted),
        )

    # The open session

    def _on_changed(self, changed: Changed) -> list[Action]:
        """The lists that are others, then UPDATE, with which the client applies all of it at once."""
        before, after = self._granted, changed.granted
        assert before is not None
        assign, routes = to_assign(after), RouteAdvertisement(to_ranges(after.routes))
        messages: list[Control] = []
        if to_assign(before) != assign:
            messages.append(assign)
        if to_ranges(before.routes) != routes.ranges:
            messages.append(routes)
        try:
            terms = to_terms(after)
            if messages or to_terms(before) != terms:
                messages.append(Update(terms=terms))
            for message in messages:
                encode_message(message)
        except ValueError as error:
            return self._on_failed(Failed(f"the changed grant does not fit the wire: {error}"))
        self._granted = after
        return [Send(message) for message in messages]

    def _on_address_request(self, request: AddressRequest) -> list[Action]:
        """Addresses are granted once, with the session: the list as it is, and no for each request."""
        assert self._granted is not None
        declined = tuple(PrefixEntry(e.request_id, UNSPECIFIED[e.prefix.version]) for e in request.entries)
        return [Send(AddressAssign((*to_assign(self._granted).entries, *declined)))]

    def _on_ping(self, ping: Ping) -> list[Action]:
        return [Send(Pong(id=ping.id))]

    def _on_pong(self, pong: Pong) -> list[Action]:
        return [PongSeen(pong.id)]

    def _on_ext(self, ext: Ext) -> list[Action]:
        return [Deliver(ext.codec, ext.body)]

    def _on_tell(self, tell: Tell) -> list[Action]:
        return [Send(Ext(codec=tell.codec, body=tell.body))]

    # Ways to the end

    def _on_close(self, close: Close) -> list[Action]:
        """No code is the client's goodbye; with one, it left because of something we did."""
        if close.code is None:
            return self.finish(Finish(None, "the client said goodbye", CLOSE_NORMAL, graceful=True))
        return self.finish(Finish(None, "the client closed the link", CLOSE_NORMAL))

    def _on_refused(self, refused: Refused | End) -> list[Action]:
        return self._leave(refused.refuse)

    def _on_violation(self, violation: Violation) -> list[Action]:
        return self._leave(Refuse(Code.PROTOCOL, detail=violation.text), violation.text)

    def _on_failed(self, failed: Failed) -> list[Action]:
        return self._leave(Refuse(Code.INTERNAL, detail=failed.detail))

    def _on_wrong_version(self, _: WrongVersion) -> list[Action]:
        return self._leave(Refuse(Code.VERSION, detail="HELLO offers no version that is spoken here"))

    def _leave(self, refuse: Refuse, blame: str | None = None) -> list[Action]:
        """REJECT before the session is open, CLOSE after."""
        opened = self.state is ServerState.OPEN
        message = close_message(refuse, blame) if opened else reject_message(refuse, blame)
        reason = refuse.detail or refuse.code.value
        return self.finish(Finish(refuse, reason, CLOSE_CODES[refuse.code], blame=blame), Send(message))

    def _on_lost(self, lost: Lost) -> list[Action]:
        return self.finish(Finish(None, f"connection lost ({lost.reason or lost.code})", CLOSE_NORMAL))

    def _on_dead(self, _: Dead) -> list[Action]:
        return self.finish(Finish(None, "no sign of life", CLOSE_DEAD))

    EVERYWHERE: ClassVar[Mapping[type, Callable[..., list[Action]]]] = {
        Violation: _on_violation,
        Failed: _on_failed,
        Lost: _on_lost,
        End: _on_refused,
        Close: _on_close,
    }
    TABLE: ClassVar[Mapping[tuple[ServerState, type], Callable[..., list[Action]]]] = {
        (ServerState.HELLO, Hello): _on_hello,
        (ServerState.HELLO, WrongVersion): _on_wrong_version,
        (ServerState.PROOF, Auth): _on_proof,
        (ServerState.JUDGING, Ask): _on_ask,
        (ServerState.JUDGING, Refused): _on_refused,
        (ServerState.JUDGING, Opened): _on_opened,
        (ServerState.ANSWER, Auth): _on_answer,
        (ServerState.ANSWER, Refused): _on_refused,
        (ServerState.OPEN, Changed): _on_changed,
        (ServerState.OPEN, Tell): _on_tell,
        (ServerState.OPEN, Ping): _on_ping,
        (ServerState.OPEN, Pong): _on_pong,
        (ServerState.OPEN, Ext): _on_ext,
        (ServerState.OPEN, AddressRequest): _on_address_request,
        (ServerState.OPEN, Dead): _on_dead,
    }
