"""What the client's and the server's handshake tables share: local inputs, actions, deadlines, grants as messages.

A machine is a state and a table: (state, type of input) → handler. Inputs are wire messages and the local inputs
below; `step` returns actions, which someone else carries out. Inputs that mean the same in every state but the closed
one stand in a table of their own. An input from the peer that no table lists breaks the protocol; a local one that is
not listed came too late and is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_interface, ip_network
from typing import Any, ClassVar, Generic, TypeVar

from vpnrs_core.interfaces.common import Code, Network, Refuse, RetryClass, Seconds, retry_class
from vpnrs_core.interfaces.grant import Rate
from vpnrs_core.interfaces.protocol import Granted, ResumeClaim
from vpnrs_core.wire.addresses import AddressAssign, AddressRequest, PrefixEntry, RouteAdvertisement
from vpnrs_core.wire.codepoints import CLOSE_NORMAL, CODES_BY_CLOSE, GENERIC_TEXT
from vpnrs_core.wire.messages import Close, Control, Hello, Message, RateField, RejectMessage, Terms

HELLO_DEADLINE = 10.0
ANSWER_DEADLINE = 10.0
# The server asks its plugins between two messages; each has 5 s.
SERVER_SILENCE = 30.0
MAX_ROUNDS = 4


# Local inputs


@dataclass(frozen=True)
class Violation:
    """The peer broke the protocol, or let a deadline pass; `text` may be told to it."""

    text: str


@dataclass(frozen=True)
class Failed:
    """Something of our own raised. `detail` is for the log."""

    detail: str


@dataclass(frozen=True)
class Lost:
    """The connection has ended, with the close code and reason that the transport reports."""

    code: int
    reason: str


@dataclass(frozen=True)
class Dead:
    """The peer has been silent for too long."""


@dataclass(frozen=True)
class Tell:
    """Send a codec's own message."""

    codec: str
    body: bytes


# Actions


@dataclass(frozen=True)
class Send:
    """On the control stream."""

    message: Control


@dataclass(frozen=True)
class Judge:
    """Server: ask the gate about this request."""

    hello: Hello
    claim: ResumeClaim | None


@dataclass(frozen=True, repr=False)
class Answer:
    """Server: the peer's answer to the gate's question."""

    body: Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Challenged:
    """Client: ask the method for its answer."""

    body: Mapping[str, Any]
    channel: bytes


@dataclass(frozen=True)
class Configure:
    """The session is open: the client may configure its host, the server may feed the link."""

    granted: Granted
    lane: str


@dataclass(frozen=True)
class Reconfigure:
    """Client: the grant is another."""

    granted: Granted


@dataclass(frozen=True)
class PongSeen:
    id: int


@dataclass(frozen=True, repr=False)
class Deliver:
    """A codec's own message arrived."""

    codec: str
    body: bytes


@dataclass(frozen=True)
class Finish:
    """Over: flush what was sent, close the connection with `close_code`.

    `refuse`: why, None when the connection was lost or the client said goodbye. `graceful`: it was that goodbye.
    `blame`: what the peer did wrong. `reason` is for the log."""

    refuse: Refuse | None
    reason: str
    close_code: int
    graceful: bool = False
    blame: str | None = None

    def parting(self) -> str:
        """The reason that goes with the close code: generic, or what the peer itself did wrong."""
        if self.refuse is None or self.close_code == CLOSE_NORMAL:
            return ""
        return (self.blame or GENERIC_TEXT[self.refuse.code])[:200]


Action = Send | Judge | Answer | Challenged | Configure | Reconfigure | PongSeen | Deliver | Finish
State = TypeVar("State", bound=Enum)


class Machine(Generic[State]):
    """TABLE: what is legal in which state; EVERYWHERE: in all but CLOSED, where nothing has an effect.
    `deadline`: when `tick` is due (monotonic seconds), None while someone else keeps time."""

    TABLE: ClassVar[Mapping[tuple[Any, type], Callable[..., list[Action]]]]
    EVERYWHERE: ClassVar[Mapping[type, Callable[..., list[Action]]]]
    CLOSED: ClassVar[Any]

    def __init__(self, state: State, deadline: Seconds | None) -> None:
        self.state = state
        self.deadline = deadline
        self.now: Seconds = 0.0

    @property
    def closed(self) -> bool:
        return bool(self.state is self.CLOSED)

    def step(self, given: object, now: Seconds) -> list[Action]:
        """One input. Never raises for what a peer sent."""
        self.now = now
        if self.closed:
            return []
        handler = self.TABLE.get((self.state, type(given))) or self.EVERYWHERE.get(type(given))
        if handler is not None:
            return handler(self, given)
        if isinstance(given, Message | AddressAssign | AddressRequest | RouteAdvertisement):
            name = type(given).__name__.removesuffix("Message")
            return self.step(Violation(f"{name} is not allowed in state {self.state.value}"), now)
        return []

    def tick(self, now: Seconds) -> list[Action]:
        """Past the deadline the peer has taken too long."""
        if self.deadline is None or now < self.deadline:
            return []
        return self.step(Violation(f"nothing came in time in state {self.state.value}"), now)

    def finish(self, finish: Finish, *before: Action) -> list[Action]:
        self.state = self.CLOSED
        self.deadline = None
        return [*before, finish]


# Refusals and grants as messages


def reject_message(refuse: Refuse, text: str | None = None) -> RejectMessage:
    """The wire gets the generic text, or what the peer itself did wrong; `detail` stays here."""
    return RejectMessage(
        code=refuse.code.value,
        retry=retry_class(refuse.code).value,
        retry_after=refuse.retry_after,
        text=(text or GENERIC_TEXT[refuse.code])[:512],
    )


def close_message(refuse: Refuse, text: str | None = None) -> Close:
    return Close(**reject_message(refuse, text).model_dump())


def refusal(message: RejectMessage | Close) -> Refuse:
    """What the peer said. A code that we do not know keeps its retry class."""
    try:
        code = Code(message.code or Code.SHUTTING_DOWN.value)
    except ValueError:
        code = Code.POLICY if message.retry == RetryClass.FINAL.value else Code.INTERNAL
    return Refuse(code, message.retry_after, printable(message.text))


def refusal_of_close(lost: Lost) -> Refuse | None:
    """The refusal that a connection's close code repeats, None for any other close."""
    code = CODES_BY_CLOSE.get(lost.code)
    return None if code is None else Refuse(code, None, printable(lost.reason or GENERIC_TEXT[code]))


def printable(text: str) -> str:
    """A peer's text, safe to show: no control characters, at most 512 characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:512])


def to_terms(granted: Granted) -> Terms:
    """Raises ValueError (pydantic) for a grant that the wire cannot carry."""
    pools = dict.fromkeys(ip_network((address, length), strict=False) for address, length in granted.addresses)
    return Terms(
        mtu=granted.mtu,
        dns=list(granted.dns),
        up=_rate_field(granted.up),
        down=_rate_field(granted.down),
        expires=granted.expires,
        pools=list(pools),
        server_addresses=list(granted.server_addresses),
        underlay=list(granted.underlay),
        facts=dict(granted.facts),
    )


def from_terms(terms: Terms) -> dict[str, Any]:
    """The fields of Granted that UPDATE may change, but for the addresses."""
    return {
        "mtu": terms.mtu,
        "dns": tuple(terms.dns),
        "up": _rate(terms.up),
        "down": _rate(terms.down),
        "expires": terms.expires,
        "server_addresses": tuple(terms.server_addresses),
        "underlay": tuple(terms.underlay),
        "facts": dict(terms.facts),
    }


def to_assign(granted: Granted) -> AddressAssign:
    """Each address by itself (/32, /128): the client may send from nothing else."""
    return AddressAssign(tuple(PrefixEntry(0, ip_network(address)) for address, _ in granted.addresses))


def from_assign(assign: AddressAssign, pools: list[Network]) -> tuple[tuple[Any, int], ...]:
    """Addresses with the prefix length of their pool; one of no pool stands alone."""
    found = []
    for address in assign.addresses:
        lengths = [pool.prefixlen for pool in pools if pool.version == address.version and address in pool]
        found.append((address, max(lengths, default=ip_interface(address).max_prefixlen)))
    return tuple(found)


def _rate_field(rate: Rate | None) -> RateField | None:
    return None if rate is None else RateField(bits_per_second=rate.bits_per_second, burst_bytes=rate.burst_bytes)


def _rate(field: RateField | None) -> Rate | None:
    return None if field is None else Rate(field.bits_per_second, field.burst_bytes)
