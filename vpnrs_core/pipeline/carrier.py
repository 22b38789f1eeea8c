"""The carrier: moves batches through stages, routing and isolation, and runs what stages sent apart from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal

from vpnrs_core.counters import DropCounts
from vpnrs_core.interfaces.grant import Rate
from vpnrs_core.interfaces.stage import Direction
from vpnrs_core.packet.icmp import Unreachable, unreachable
from vpnrs_core.packet.packet import Packet
from vpnrs_core.pipeline.isolation import Isolation
from vpnrs_core.pipeline.out import Passage
from vpnrs_core.pipeline.peer import Peer
from vpnrs_core.pipeline.rate import TokenBucket
from vpnrs_core.pipeline.routing import Routes
from vpnrs_core.pipeline.stages import BoundStage

INGRESS, EGRESS = Direction.INGRESS, Direction.EGRESS

# ICMP errors for addresses that nobody has: a second, and at once.
UNREACHABLE_RATE = 100
UNREACHABLE_BURST = 50


class Carrier:
    """`to_tun` and the queues of the peers in `ready` are where packets end up. `sole` is a client's one peer."""

    def __init__(
        self, role: Literal["server", "client"], drops: DropCounts, routes: Routes[Peer], isolation: Isolation
    ) -> None:
        self.role = role
        self.drops = drops
        self.to_tun: list[Packet] = []
        self.ready: set[Peer] = set()
        self.peers: dict[str, Peer] = {}
        self.routes = routes
        self.isolation = isolation
        self.sole: Peer | None = None
        self.tun_stages: list[BoundStage] = []
        self.tun_inwards: list[BoundStage] = []
        self.pending: deque[Passage] = deque()
        self._unreachable = TokenBucket(Rate(UNREACHABLE_RATE * 8, UNREACHABLE_BURST))

    def set_tun_stages(self, stages: list[BoundStage]) -> None:
        """From the TUN outwards."""
        self.tun_stages = stages
        self.tun_inwards = stages[::-1]

    def from_peer(self, peer: Peer, batch: list[Packet], now: float) -> None:
        """Ingress, behind the source check."""
        if peer.stages:
            batch = self.through(INGRESS, peer.stages[::-1], batch, 0, now)
        self.inwards(self.tun_inwards, batch, 0, now)
        self.settle(now)

    def from_tun(self, batch: list[Packet], now: float) -> None:
        """Egress, behind the checks on what the TUN gave."""
        if self.tun_stages:
            batch = self.through(EGRESS, self.tun_stages, batch, 0, now)
        self.route(batch, 0, now)
        self.settle(now)

    def from_stage(self, passages: list[Passage], now: float) -> None:
        """What a woken stage lets go."""
        self.pending.extend(passages)
        self.settle(now)

    def inwards(self, stages: Sequence[BoundStage], batch: list[Packet], hop: int, now: float) -> None:
        """The last part of ingress: through these tun-side stages, then to the TUN."""
        if stages:
            batch = self.through(INGRESS, stages, batch, hop, now)
        if not self.isolation.enabled:
            self.to_tun.extend(batch)
            return
        allowed = self.isolation.to_tun
        for packet in batch:
            if allowed(packet):
                self.to_tun.append(packet)
            else:
                self._isolated(packet)

    def route(self, batch: list[Packet], hop: int, now: float, behind: BoundStage | None = None) -> None:
        """The last part of egress: to the peers' queues. `behind` is the stage that injected the batch: at its own
        peer the batch enters behind it, at any other it passes all stages."""
        client, sole, lookup = self.role == "client", self.sole, self.routes.get
        groups: dict[Peer, list[Packet]] = {}
        for packet in batch:
            peer = sole if client else lookup(packet.header.destination, None)
            if peer is None:
                self._no_route(packet, hop, now)
            elif packet.session is not None and not self.isolation.to_peer(packet, peer):
                self._isolated(packet)
            elif peer in groups:
                groups[peer].append(packet)
            else:
                groups[peer] = [packet]
        for peer, packets in groups.items():
            stages = peer.stages
            if behind is not None and behind.peer is peer:
                stages = stages[behind.index + 1 :]
            self._outwards(peer, stages, packets, hop, now)

    def _outwards(self, peer: Peer, stages: Sequence[BoundStage], batch: list[Packet], hop: int, now: float) -> None:
        if stages:
            batch = self.through(EGRESS, stages, batch, hop, now)
        push = peer.queue.push
        for packet in batch:
            push(packet, now)
        if batch:
            self.ready.add(peer)

    def through(
        self, direction: Direction, stages: Iterable[BoundStage], batch: list[Packet], hop: int, now: float
    ) -> list[Packet]:
        for stage in stages:
            if not batch:
                break
            batch, passages = stage.run(direction, batch, hop, now)
            if passages:
                self.pending.extend(passages)
        return batch

    def settle(self, now: float) -> None:
        """Run what stages sent apart from their batches, until nothing is left: one hop bounds it."""
        pending = self.pending
        while pending:
            self._carry(pending.popleft(), now)

    def _carry(self, passage: Passage, now: float) -> None:
        stage, batch, hop = passage.stage, passage.packets, passage.hop
        owner = stage.peer
        if passage.direction is INGRESS:
            if owner is not None:
                batch = self.through(INGRESS, owner.stages[: stage.index][::-1], batch, hop, now)
                self.inwards(self.tun_inwards, batch, hop, now)
            else:
                self.inwards(self.tun_stages[: stage.index][::-1], batch, hop, now)
        elif owner is not None:
            if passage.home:
                self._outwards(owner, owner.stages[stage.index + 1 :], batch, hop, now)
            else:
                self.route(batch, hop, now, behind=stage)
        else:
            batch = self.through(EGRESS, self.tun_stages[stage.index + 1 :], batch, hop, now)
            if passage.home:
                self._send_home(batch, hop, now)
            else:
                self.route(batch, hop, now)

    def _send_home(self, batch: list[Packet], hop: int, now: float) -> None:
        """Answers of tun-side stages to ingress packets: each to the session that its packet came from."""
        for packet in batch:
            peer = None if packet.session is None else self.peers.get(packet.session.id)
            if peer is None:
                self.drops.count("session_closed", packet.segments, packet.ip_bytes)
            else:
                self._outwards(peer, peer.stages, [packet], hop, now)

    def _isolated(self, packet: Packet) -> None:
        """Counted with the session that sent it."""
        peer = None if packet.session is None else self.peers.get(packet.session.id)
        drops = self.drops if peer is None else peer.drops
        drops.count("isolation", packet.segments, packet.ip_bytes)

    def _no_route(self, packet: Packet, hop: int, now: float) -> None:
        self.drops.count("no_route", packet.segments, packet.ip_bytes)
        # A client would learn from an error which addresses of a pool are free; and a client's own TUN without a
        # session waits for the next one.
        if self.role == "client" or packet.session is not None or self._unreachable.refill(now) < 1:
            return
        # In the destination's name: a kernel drops what arrives with one of its own addresses as the source.
        error = unreachable(packet, Unreachable.ADDRESS, packet.dst)
        if error is not None:
            self._unreachable.spend(1)
            self.inwards(self.tun_inwards, [error], hop, now)
