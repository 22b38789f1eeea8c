"""Stages: what happens to packets between the TUN and a peer (contract: ordering, failing closed)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Protocol, runtime_checkable

from vpnrs_core.interfaces.common import Address, Network, Seconds
from vpnrs_core.interfaces.session import Session
from vpnrs_core.packet.packet import Packet


class Direction(Enum):
    """Named once, seen from the TUN's owner: ingress comes from a peer, egress goes to one."""

    INGRESS = "ingress"
    EGRESS = "egress"


# What a tap tells: (point, direction, packet, why it went no further or ""). None: there is no packet to show any more.
Seen = Callable[[str, Direction, Packet | None, str], None]


class Out(Protocol):
    """Where a stage says what became of each packet. Every packet of a batch is named exactly once, by
    forward, drop, reply or hold; a held packet is the stage's until it is named again."""

    def forward(self, of: Packet | Sequence[Packet], *packets: Packet) -> None:
        """Send on: `of` unchanged when no packets are given, else the given ones in its place. `of` is one packet,
        or all the packets that were joined into the new ones."""

    def drop(self, packet: Packet, reason: str) -> None:
        """Discard and count under `reason`: one of the core's, or one that the plugin declared."""

    def reply(self, of: Packet, packet: Packet) -> None:
        """Consume `of` and send `packet` back where `of` came from."""

    def hold(self, packet: Packet) -> bool:
        """Keep for later. False: the bound on held bytes is reached, and the core has dropped and counted it."""

    def inject(self, direction: Direction, packet: Packet, *, cause: Packet | Sequence[Packet] | None = None) -> None:
        """Let a new packet enter behind this stage. Egress injections are routed and pass the destination's
        peer-side stages. `cause`'s session is kept for the isolation check; a cause that the call does not name
        otherwise has become the injected packet (a hairpin); several that were joined into it are given together.
        One hop: an injected packet's own passage may not inject or reply again."""


@dataclass(frozen=True)
class Matches:
    """The prefixes that concern a stage, by direction; what matches none bypasses it. Empty: nothing of that kind.
    A packet matches when its source or its destination is inside a listed prefix."""

    ingress_dst: Sequence[Network] = ()
    ingress_src: Sequence[Network] = ()
    egress_dst: Sequence[Network] = ()
    egress_src: Sequence[Network] = ()


class Stage(Protocol):
    """A packet stage. What `process` raises drops the packets that it was given and has not dropped, counted under the
    plugin's name. All methods but `process` may be left out; what an event method raises is reported."""

    def matches(self) -> Matches | None:
        """None: everything. Asked once, at set-up."""

    def process(self, direction: Direction, batch: Sequence[Packet], out: Out, now: Seconds) -> None:
        """Name each packet of the batch once on `out`. `now` is monotonic seconds."""

    def on_wake(self, now: Seconds, out: Out) -> None:
        """The time asked for with `wake_at` has come. There is one timer a stage: the earliest time that was asked for
        holds, and is forgotten when it has come. Raising here loses all that the stage holds."""


class TunStage(Stage, Protocol):
    """One object per instance, nearest to the TUN. On ingress each packet has its session, on egress none yet."""

    def session_opened(self, session: Session) -> None: ...
    def session_changed(self, session: Session, released: Sequence[Address]) -> None:
        """The grant changed. Comes before released addresses can be leased again."""

    def session_closed(self, session: Session, reason: str) -> None: ...
    def mtu_changed(self, session: Session | None, mtu: int) -> None:
        """`session` None: the TUN's own MTU, in bytes."""


class PeerStage(Stage, Protocol):
    """One object per session, made by `bind`."""

    def mtu_changed(self, session: Session | None, mtu: int) -> None: ...
    def session_changed(self, session: Session, released: Sequence[Address]) -> None: ...
    def close(self, reason: str) -> None: ...


@runtime_checkable
class Observer(Protocol):
    """A stage that only looks. It has no `out`, so it cannot lose a packet."""

    def observe(self, direction: Direction, batch: Sequence[Packet], now: Seconds) -> None: ...


class StageFactory(Protocol):
    """What `vpnrs_register_packet_stages` returns. ORDER counts from the TUN: egress passes ascending, ingress
    descending. Tun-side stages all come before (nearer the TUN than) peer-side ones."""

    NAME: ClassVar[str]
    ORDER: ClassVar[int]


@runtime_checkable
class TunStageFactory(StageFactory, Protocol):
    def tun(self, wake_at: Callable[[Seconds], None]) -> TunStage | Observer:
        """Server and client, once, at the start; raising refuses it. `wake_at` takes monotonic seconds."""


@runtime_checkable
class PeerStageFactory(StageFactory, Protocol):
    def bind(self, session: Session, wake_at: Callable[[Seconds], None]) -> PeerStage | Observer:
        """Server and client, once a session; raising refuses that session."""
