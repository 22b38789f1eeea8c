"""Peer: what the pipeline keeps of one session."""

from __future__ import annotations

from collections.abc import Sequence

from vpnrs_core.counters import FlowCounters, SessionDrops
from vpnrs_core.interfaces.common import Address, Network
from vpnrs_core.interfaces.session import Session
from vpnrs_core.pipeline.checks import PeerCheck
from vpnrs_core.pipeline.police import Police
from vpnrs_core.pipeline.queue import SessionQueue
from vpnrs_core.pipeline.stages import BoundStage


class Peer:
    """`mtu` is the session's inner MTU in bytes; `queue` holds what goes to the peer. `stages` are the peer-side
    ones from the TUN outwards. `leases` is the pipeline's copy: a change is found by comparing."""

    __slots__ = (
        "check",
        "closed",
        "counters",
        "drops",
        "leases",
        "mtu",
        "police",
        "prefixes",
        "queue",
        "session",
        "stages",
    )

    def __init__(
        self, session: Session, mtu: int, queue: SessionQueue, counters: FlowCounters, drops: SessionDrops
    ) -> None:
        self.session = session
        self.mtu = mtu
        self.queue = queue
        self.counters = counters
        self.drops = drops
        self.leases: tuple[Address, ...] = ()
        self.prefixes: tuple[Network, ...] = ()
        self.stages: list[BoundStage] = []
        self.check: PeerCheck
        self.police: Police | None = None
        self.closed = False

    @property
    def destinations(self) -> Sequence[Network | Address]:
        """What is routed to this peer on a server."""
        return (*self.leases, *self.prefixes)

    def __repr__(self) -> str:
        return f"<Peer of session {self.session.id}>"
