"""The turn of the loop: frames from the TUN and payloads from links go through the pipeline and out on the other side.

    egress   TUN → peer:  _read_tun → Pipeline.egress → the session's queue → pump → LinkPort.send → lane
    ingress  peer → TUN:  received → LinkPort.decode → Pipeline.ingress → TUN

Nothing here blocks, and nothing here waits for one peer: a link that takes no more leaves its packets in its session's
queue, which is bounded, and is pumped again when the link says that it is writable. Only a single session's queue can
make the TUN wait, and not for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from vpnrs_core.counters import DropCounts
from vpnrs_core.engine.brake import LONGEST, Brake
from vpnrs_core.engine.containment import RAISED, FailureReporter
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.errors import HostError
from vpnrs_core.interfaces import LinkScheduler
from vpnrs_core.interfaces.tun import TunDevice
from vpnrs_core.packet.fragment import fragment, may_fragment
from vpnrs_core.packet.gather import gather
from vpnrs_core.packet.icmp import packet_too_big
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.refit import refit
from vpnrs_core.packet.segment import segment
from vpnrs_core.pipeline.pipeline import Peer, Pipeline

# What one wake-up reads from the TUN: enough to fill batches, little enough that the socket is served in between. A
# flood of small datagrams comes one by one, and whatever a turn costs is shared by those that it reads.
READ_PACKETS = 256
READ_BYTES = 256 * 1024

# How often the TUN may have given all of that to turns of the socket, for their peers' packets have the TUN read too,
# before it waits for the loop: there the socket is served in between, however many peers ask at once.
FULL_READS = 4

# What one pull takes from a session's queue: a few super-packets, so that sparse flows get their turn soon.
PULL_BYTES = 256 * 1024

# The smallest MTU an ICMP error may name: RFC 8200 for IPv6, RFC 791 for IPv4.
SMALLEST_MTU = {4: 68, 6: 1280}

Decode = Callable[[Sequence[bytes], Callable[[str], None]], list[Packet]]


class Datapath:
    """Moves batches between one TUN and the links of all sessions. Used from the loop's thread only."""

    def __init__(
        self,
        tun: TunDevice,
        pipeline: Pipeline,
        drops: DropCounts,
        scheduler: LinkScheduler,
        reporter: FailureReporter,
        on_tun_lost: Callable[[HostError], None],
    ) -> None:
        self.tun = tun
        self.pipeline = pipeline
        self._drops = drops
        self._scheduler = scheduler
        self._reporter = reporter
        self._on_tun_lost = on_tun_lost
        self._links: dict[Peer, list[LinkPort]] = {}
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._brake = Brake()
        self._pause: asyncio.TimerHandle | None = None
        self._full_reads = 0  # since the loop found the TUN readable

    def start(self) -> None:
        self._loop.add_reader(self.tun.fileno(), self._tun_readable)

    def stop(self) -> None:
        if self.tun.fileno() >= 0:
            self._loop.remove_reader(self.tun.fileno())
        self._brake = Brake()
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()

    def attach(self, peer: Peer, link: LinkPort) -> None:
        """The link carries this peer's packets from now on."""
        link.late = partial(self._late, peer, link)
        self._links.setdefault(peer, []).append(link)
        self.pump(peer, self._now())

    def detach(self, peer: Peer, link: LinkPort) -> None:
        link.close()
        links = self._links.get(peer, [])
        if link in links:
            links.remove(link)
        if not links:
            self._links.pop(peer, None)

    def received(self, peer: Peer, link: LinkPort, payloads: Sequence[bytes]) -> None:
        """A batch of payloads from a peer's link."""
        self._ingress(peer, link.decode, payloads)

    def _late(self, peer: Peer, link: LinkPort, payloads: Sequence[bytes]) -> None:
        """What a wrapper let go apart from a batch."""
        self._ingress(peer, link.decode_unwrapped, payloads)

    def _ingress(self, peer: Peer, decode: Decode, payloads: Sequence[bytes]) -> None:
        now = self._now()
        try:
            packets = decode(payloads, peer.drops.count)
        except RAISED as exc:
            self._reporter.report("codec", "decode", exc, now)
            peer.drops.count("plugin_error", len(payloads), sum(map(len, payloads)))
            return
        self.pipeline.ingress(peer, packets, now)
        answered = bool(self.pipeline.to_tun)
        self.finish(now)
        if answered and self._full_reads < FULL_READS and self._brake.until is None and self.tun.fileno() >= 0:
            # The kernel has answered what it was given by now: acknowledgements, or what those let go. Read at once,
            # its packets leave in this turn, together with our own acknowledgement.
            self._read_tun()

    def writable(self, peer: Peer, link: LinkPort) -> None:
        """The link's lane takes more."""
        if link.flush():
            now = self._now()
            self.pump(peer, now)
            self.finish(now)

    def finish(self, now: float) -> None:
        """End of a turn: write what is for the TUN, pump who has something to send, set the timer."""
        pipeline = self.pipeline
        while True:
            if pipeline.to_tun:
                self._write_tun()
            if not pipeline.ready:
                break
            ready = list(pipeline.ready)
            pipeline.ready.clear()
            for peer in ready:
                self.pump(peer, now)
        if self._brake.until is not None:
            self._release(now)
        self._set_timer()

    def pump(self, peer: Peer, now: float) -> None:
        """Move packets from a peer's queue to its links, as far as they have room."""
        links = self._links.get(peer)
        if not links:
            return
        queue = peer.queue
        while queue.bytes:
            room = max([link.room() for link in links])
            if room <= 0:
                return
            batch = queue.pull(min(room, PULL_BYTES), now)
            if not batch:
                return
            self._send(peer, links, batch, now)

    def _send(self, peer: Peer, links: list[LinkPort], batch: list[Packet], now: float) -> None:
        """Let the scheduler assign a batch, and its links carry it. What it gives to no link is counted."""
        left = {id(packet): packet for packet in batch}
        try:
            for link, packet in self._scheduler.assign(batch, links, now):
                assert isinstance(link, LinkPort)
                if not (packet.largest_segment <= peer.mtu and link.send(packet)):
                    self._unfit(peer, link, packet, now)
                left.pop(id(packet), None)
        except RAISED as exc:
            self._reporter.report(f"{self._scheduler.NAME} scheduler or codec", "assign, encode", exc, now)
            _drop_all(peer, left.values(), "plugin_error")
        else:
            _drop_all(peer, left.values(), "no_link")

    # For wrappers (engine.wrapping.WrapperHost)

    def now(self) -> float:
        return self._now()

    def call_at(self, at: float, act: Callable[[], None]) -> None:
        self._loop.call_at(at, act)

    def failed(self, name: str, where: str, error: BaseException) -> None:
        self._drops.count("plugin_error")
        self._reporter.report(name, where, error, self._now())

    def _unfit(self, peer: Peer, link: LinkPort, packet: Packet, now: float) -> None:
        """What is too large for a path goes in smaller pieces where that is allowed, and its sender is told. What must
        be dropped always gets an ICMP error and a count, never silence."""
        mtu = min(peer.mtu, link.inner_mtu())
        smaller = refit(packet, mtu)
        if smaller is None or not link.send(smaller):
            if _in_fragments(mtu, link, packet):
                return
            peer.drops.count("too_big", packet.segments, packet.ip_bytes)
        elif may_fragment(packet.data) or link.searching:
            return  # a kernel would keep to what a search passes by for ten minutes
        told = max(SMALLEST_MTU[packet.version], mtu)
        if told >= packet.largest_segment:
            return  # it is not for the sender to make smaller packets
        # In the destination's name: a kernel ignores an error that arrives with one of its own addresses as the source.
        error = packet_too_big(packet, told, packet.dst)
        if error is not None:
            self.pipeline.icmp(peer, error, now)

    def _tun_readable(self) -> None:
        self._full_reads = 0
        self._read_tun()

    def _read_tun(self) -> None:
        try:
            frames = self.tun.read_batch(READ_PACKETS, READ_BYTES)
        except HostError as error:
            self._loop.remove_reader(self.tun.fileno())
            self._on_tun_lost(error)
            return
        if len(frames) >= READ_PACKETS or sum(map(len, frames)) >= READ_BYTES:
            self._full_reads += 1
        now = self._now()
        self.pipeline.egress([Packet(frame) for frame in gather(frames)], now)
        self.finish(now)
        if len(self._links) == 1:
            (peer,) = self._links
            if not peer.queue.paced:
                self._pause_if_full(peer, now)

    def _pause_if_full(self, peer: Peer, now: float) -> None:
        if self._brake.pulls(peer.queue.bytes, peer.queue.limit, now) and self.tun.fileno() >= 0:
            self._loop.remove_reader(self.tun.fileno())
            self._pause = self._loop.call_at(now + LONGEST, self._pause_is_over)

    def _pause_is_over(self) -> None:
        if self._brake.until is not None:
            self._release(self._brake.until)

    def _release(self, now: float) -> None:
        """Read the TUN again when there is room, or somebody else to read for, or the pause was long enough."""
        waits, limit = 0, 1
        if len(self._links) == 1:
            (peer,) = self._links
            waits, limit = peer.queue.bytes, peer.queue.limit
        if self._brake.releases(waits, limit, now):
            if self._pause is not None:
                self._pause.cancel()
            if self.tun.fileno() >= 0:
                self._loop.add_reader(self.tun.fileno(), self._tun_readable)

    def _write_tun(self) -> None:
        packets = self.pipeline.to_tun
        try:
            written = self.tun.write_batch([packet.frame for packet in packets])
        except HostError as error:
            self._on_tun_lost(error)
            written = 0
        if written < len(packets):
            self._drops.count("tun_write", len(packets) - written)
        packets.clear()

    def _set_timer(self) -> None:
        """One timer serves stages, paced queues and everything else of the pipeline that waits for a time."""
        at = self.pipeline.next_wake()
        if at is None:
            return
        if self._timer is not None and self._timer_at <= at and not self._timer.cancelled():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        now = self._now()
        self.pipeline.wake(now)
        self.finish(now)


def _in_fragments(mtu: int, link: LinkPort, packet: Packet) -> bool:
    """Send what is too large for the path in pieces, as a router does with IPv4 without DF (RFC 791 section 3.2), whose
    sender learns nothing from an error. False: that is not allowed, nothing was sent."""
    if not may_fragment(packet.data) or mtu < SMALLEST_MTU[4]:
        return False
    for ip in segment(packet):
        for part in fragment(ip, mtu):
            link.send(Packet.of(part, packet.session))
    return True


def _drop_all(peer: Peer, packets: Iterable[Packet], reason: str) -> None:
    for packet in packets:
        peer.drops.count(reason, packet.segments, packet.ip_bytes)
