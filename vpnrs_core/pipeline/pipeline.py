"""The pipeline: packets from the TUN to the sessions' queues, and from the peers to the TUN.

    egress   TUN → peer:  tun-side stages ascending → route by destination → peer-side ascending → the peer's queue
    ingress  peer → TUN:  source check → police → peer-side descending → tun-side descending → isolation → `to_tun`

What stages inject or answer runs after the batch that caused it, as a batch of its own, at most one hop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from vpnrs_core.counters import DropCounts, FlowCounters, SessionDrops
from vpnrs_core.errors import PluginError
from vpnrs_core.interfaces.common import Address, Network
from vpnrs_core.interfaces.context import Sample
from vpnrs_core.interfaces.grant import Rate
from vpnrs_core.interfaces.session import Session
from vpnrs_core.interfaces.stage import PeerStageFactory, Seen, TunStageFactory
from vpnrs_core.packet.header import VNET_LENGTH, BadPacket
from vpnrs_core.packet.packet import Packet
from vpnrs_core.pipeline.carrier import Carrier
from vpnrs_core.pipeline.checks import PeerCheck, confined
from vpnrs_core.pipeline.isolation import Isolation
from vpnrs_core.pipeline.peer import Peer
from vpnrs_core.pipeline.police import Police
from vpnrs_core.pipeline.queue import SessionQueue
from vpnrs_core.pipeline.routing import Routes
from vpnrs_core.pipeline.stages import BoundStage, OnFailure, StageSpec, ordered
from vpnrs_core.pipeline.tap import Tap
from vpnrs_core.pipeline.wake import Timers

__all__ = ["Peer", "Pipeline", "StageSpec"]


class Pipeline:
    """One instance's. The caller takes what is in `to_tun`, pulls from the queues of the peers in `ready`, and
    clears both in place.

    `drops` is the instance's; `on_failure(plugin, where, exception)` hears of every failure of a stage."""

    def __init__(
        self,
        role: Literal["server", "client"],
        stages: Sequence[StageSpec],
        drops: DropCounts,
        on_failure: OnFailure,
        *,
        isolation: bool = True,
        pools: Iterable[Network] = (),
        own_addresses: Iterable[Address] = (),
    ) -> None:
        """`pools`: the prefixes that sessions are leased from; `own_addresses`: the server's on the TUN, which lie in
        them. Raises PluginError when a tun-side stage cannot be made."""
        self.role = role
        self.drops = drops
        self.stage_errors: dict[str, int] = {}  # packets lost, by plugin
        self.tun_mtu = 0
        self._closed_traffic = FlowCounters()
        self._routes: Routes[Peer] = Routes()
        self.isolation = Isolation(isolation and role == "server", pools, own_addresses, self._routes)
        self._carrier = Carrier(role, drops, self._routes, self.isolation)
        self.to_tun, self.ready, self.peers = self._carrier.to_tun, self._carrier.ready, self._carrier.peers
        self._timers: Timers[BoundStage | Peer] = Timers()
        self._on_failure = on_failure
        self._tap: Tap | None = None
        specs = ordered(stages)
        for spec in specs:
            if not isinstance(spec.factory, TunStageFactory | PeerStageFactory):
                raise PluginError(
                    f"plugin {spec.plugin}: its packet stage {spec.factory.NAME} has neither `tun` nor `bind`"
                )
        self._peer_specs = [spec for spec in specs if isinstance(spec.factory, PeerStageFactory)]
        self._tun_stages: list[BoundStage] = []
        for spec in specs:
            if isinstance(spec.factory, TunStageFactory):
                self._tun_stages.append(self._bind(spec, None, len(self._tun_stages)))
        self._carrier.set_tun_stages(self._tun_stages)

    # Sessions

    def open(
        self,
        session: Session,
        *,
        prefixes: Sequence[Network] = (),
        mtu: int,
        up: Rate | None = None,
        down: Rate | None = None,
    ) -> Peer:
        """A session begins. `prefixes`: on the server further prefixes that are the session's to send from and are
        routed to it; on the client what may arrive through it besides its leases. `mtu`: bytes; `down` paces the
        queue, `up` polices ingress. Raises PluginError, leaving nothing, when a peer-side stage cannot be made."""
        if session.id in self.peers:
            raise ValueError(f"session {session.id} is open")
        counters = FlowCounters()
        drops = SessionDrops(self.drops)
        queue = SessionQueue(drops, counters, down, lambda time: self._timers.at(peer, time))
        peer = Peer(session, mtu, queue, counters, drops)
        try:
            for spec in self._peer_specs:
                peer.stages.append(self._bind(spec, peer, len(peer.stages)))
        except PluginError:
            self._end_stages(peer, "refused")
            raise
        peer.police = None if up is None else Police(up, peer.drops)
        self.peers[session.id] = peer
        self._place(peer, prefixes)
        for stage in self._tun_stages:
            stage.tell("session_opened", session)
        return peer

    def change(
        self,
        peer: Peer,
        *,
        prefixes: Sequence[Network] = (),
        mtu: int,
        up: Rate | None = None,
        down: Rate | None = None,
    ) -> None:
        """The grant changed: the arguments are the whole new one, `peer.session.leases` are the new leases. Call it
        before the released addresses can be leased again."""
        session = peer.session
        released = [address for address in peer.leases if address not in session.leases]
        self._routes.remove(peer.destinations, peer)
        self._place(peer, prefixes)
        peer.queue.change_rate(down)
        if up is None or peer.police is None:
            peer.police = None if up is None else Police(up, peer.drops)
        else:
            peer.police.bucket.change(up)
        changed_mtu = mtu != peer.mtu
        peer.mtu = mtu
        for stage in (*self._tun_stages, *peer.stages):
            stage.tell("session_changed", session, released)
            if changed_mtu:
                stage.tell("mtu_changed", session, mtu)
        self.ready.add(peer)  # a new pace may let go what waited for the old one

    def close(self, peer: Peer, reason: str) -> None:
        """The session ends. What waits for it is dropped and counted. Closing twice does nothing."""
        if peer.closed:
            return
        if self._tap is not None and self._tap.peer is peer:
            self._tap.close()
        self._routes.remove(peer.destinations, peer)
        del self.peers[peer.session.id]
        self._carrier.sole = next(reversed(self.peers.values()), None)
        self.ready.discard(peer)
        self._end_stages(peer, reason)
        peer.queue.clear("session_closed")
        self._timers.cancel(peer)
        self._closed_traffic.add(peer.counters)
        for stage in self._tun_stages:
            stage.tell("session_closed", peer.session, reason)

    def set_tun_mtu(self, mtu: int) -> None:
        """The TUN's own MTU, in bytes, is now this."""
        if mtu == self.tun_mtu:
            return
        self.tun_mtu = mtu
        for stage in self._tun_stages:
            stage.tell("mtu_changed", None, mtu)
        for peer in self.peers.values():
            for stage in peer.stages:
                stage.tell("mtu_changed", None, mtu)

    def route(self, address: Address) -> Session | None:
        """The session that packets to this address go to."""
        peer = self._carrier.sole if self.role == "client" else self._routes.get(address.packed, None)
        return None if peer is None else peer.session

    # Packets

    def ingress(self, peer: Peer, batch: Sequence[Packet], now: float) -> None:
        """Packets that a peer's link delivered. The peer is known from the link, never from the packet."""
        session, counters, verdict, police = peer.session, peer.counters, peer.check.verdict, peer.police
        passed: list[Packet] = []
        if peer.closed:
            self._drop_all(batch, "session_closed")
            return
        for packet in batch:
            try:
                header = packet.header
            except BadPacket:
                peer.drops.count("malformed", 1, max(len(packet.frame) - VNET_LENGTH, 0))
                continue
            reason = verdict(header)
            if reason is not None:
                peer.drops.count(reason, packet.segments, packet.ip_bytes)
                continue
            if packet.frame[1]:
                counters.ingress_packets += packet.segments
                counters.ingress_bytes += packet.ip_bytes
            else:
                counters.ingress_packets += 1
                counters.ingress_bytes += header.length
            packet.session = session
            passed.append(packet)
        if police is not None:
            passed = [admitted for packet in passed if (admitted := police.admit(packet, now)) is not None]
        self._carrier.from_peer(peer, passed, now)

    def icmp(self, peer: Peer, packet: Packet, now: float) -> None:
        """An ICMP error of the core's own about an egress packet to this peer: it enters ingress behind the source
        check and passes the stages, so that who translates packets translates errors too."""
        self._carrier.from_peer(peer, [packet.with_session(peer.session)], now)

    def egress(self, batch: Sequence[Packet], now: float) -> None:
        """Packets that the TUN delivered."""
        passed: list[Packet] = []
        for packet in batch:
            try:
                header = packet.examine()
            except BadPacket:
                self.drops.count("malformed", 1, max(len(packet.frame) - VNET_LENGTH, 0))
                continue
            reason = confined(header.destination) or confined(header.source)
            if reason is None:
                passed.append(packet)
            else:
                self.drops.count(reason, packet.segments, packet.ip_bytes)
        self._carrier.from_tun(passed, now)

    def wake(self, now: float) -> None:
        """Run what has waited for a time up to `now`: stages' timers; paced queues become ready."""
        for owner in self._timers.due(now):
            if isinstance(owner, Peer):
                self.ready.add(owner)
            else:
                self._carrier.from_stage(owner.wake(now), now)

    def next_wake(self) -> float | None:
        """When `wake` has something to do, in monotonic seconds."""
        return self._timers.next()

    def tap(self, session: str, seen: Seen) -> Callable[[], None]:
        """Show a session's packets at each point → what ends that. ValueError: no such session, or a tap is in."""
        peer = self.peers.get(session)
        if peer is None:
            raise ValueError(f"there is no session {session!r}")
        if self._tap is not None and not self._tap.closed:
            raise ValueError("a tap is in already; there is one at a time")
        self._tap = Tap(self, self._carrier, peer, seen)
        return self._tap.close

    # For readers

    def traffic(self) -> FlowCounters:
        """What all sessions moved, those that have ended included."""
        total = FlowCounters()
        total.add(self._closed_traffic)
        for peer in self.peers.values():
            total.add(peer.counters)
        return total

    def samples(self) -> Iterable[Sample]:
        """For Registry.source: traffic, queues and stages of the instance, drops apart."""
        for name, value in self.traffic().as_dict().items():
            unit = "bytes" if name.endswith("bytes") else ""
            yield Sample(f"vpnrs_{name}", "counter", unit, "moved by all sessions", {}, value)
        queued = sum(peer.queue.bytes for peer in self.peers.values())
        yield Sample("vpnrs_queued_bytes", "gauge", "bytes", "waiting in the sessions' queues", {}, queued)
        held: dict[str, int] = {}
        for stage in (*self._tun_stages, *(stage for peer in self.peers.values() for stage in peer.stages)):
            held[stage.plugin] = held.get(stage.plugin, 0) + stage.out.held_bytes
        for plugin, size in held.items():
            yield Sample("vpnrs_held_bytes", "gauge", "bytes", "held by stages", {"plugin": plugin}, size)
        for plugin, count in self.stage_errors.items():
            yield Sample(
                "vpnrs_stage_error_packets", "counter", "", "lost to failing stages", {"plugin": plugin}, count
            )

    # Inside

    def _place(self, peer: Peer, prefixes: Sequence[Network]) -> None:
        peer.leases = tuple(peer.session.leases)
        peer.prefixes = tuple(prefixes)
        peer.check = PeerCheck(self.role, peer.leases, peer.prefixes)
        if self.role == "client":
            self._carrier.sole = peer
        else:
            self._routes.add(peer.destinations, peer)

    def _bind(self, spec: StageSpec, peer: Peer | None, index: int) -> BoundStage:
        factory = spec.factory

        def make(stage: BoundStage) -> Any:
            def wake_at(time: float) -> None:
                if peer is None or not peer.closed:
                    self._timers.at(stage, time)

            if peer is None:
                assert isinstance(factory, TunStageFactory)
                return factory.tun(wake_at)
            assert isinstance(factory, PeerStageFactory)
            return factory.bind(peer.session, wake_at)

        stage = BoundStage(spec, make, peer, self.drops if peer is None else peer.drops, self._lost, self._on_failure)
        stage.index = index
        return stage

    def _end_stages(self, peer: Peer, reason: str) -> None:
        peer.closed = True
        for stage in peer.stages:
            stage.tell("close", reason)
            stage.out.discard("session_closed")
            self._timers.cancel(stage)

    def _lost(self, plugin: str, packets: int) -> None:
        self.stage_errors[plugin] = self.stage_errors.get(plugin, 0) + packets

    def _drop_all(self, batch: Iterable[Packet], reason: str) -> None:
        for packet in batch:
            try:
                self.drops.count(reason, packet.segments, packet.ip_bytes)
            except BadPacket:
                self.drops.count("malformed", 1, max(len(packet.frame) - VNET_LENGTH, 0))
