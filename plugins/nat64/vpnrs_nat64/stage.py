"""The packet stage: the fast path, and what the pure translator decided carried out (contract of interfaces.stage)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network

from vpnrs_core.interfaces import Address, Counter, Direction, Matches, Out, Packet, Session
from vpnrs_core.packet.header import TCP
from vpnrs_nat64.events import Notices
from vpnrs_nat64.limiter import Limiters
from vpnrs_nat64.nat64 import Nat64, Outcome
from vpnrs_nat64.probe import probe
from vpnrs_nat64.reasons import CLIENT_GONE, OPENED, UNANSWERED
from vpnrs_nat64.state.records import FLAGS_AT, READY, touch
from vpnrs_nat64.translate.fragments import Fragments
from vpnrs_nat64.translate.icmp import answer
from vpnrs_nat64.translate.problem import reassembly_timeout
from vpnrs_nat64.translate.tuples import Kind, kind

PLUGIN = "nat64"
# Between two parts of work that does not fit one turn, seconds.
_SOON = 0.001
# Bytes of a SYN that is kept. One with data would take the room that fragments need: 1,024 may be kept.
_MAX_SYN = 128


class Nat64Stage:
    """interfaces.TunStage. `addresses` maps packed leases to sessions, for static bindings; it is this stage's to
    fill, and the state's to read."""

    def __init__(
        self,
        nat64: Nat64,
        addresses: dict[bytes, Session],
        fragments: Fragments,
        limiters: Limiters,
        wake_at: Callable[[float], None],
        translated: Counter,
        errors: Counter,
        notices: Notices,
    ) -> None:
        self.nat64 = nat64
        self.state = nat64.state
        self.fragments = fragments
        self._addresses = addresses
        self._limiters = limiters
        self._wake_at = wake_at
        self._translated = translated
        self._errors = errors
        self._notices = notices
        self._syns: dict[bytes, Packet] = {}
        self._orphans: list[Packet] = []
        self._fast6 = nat64.fast_to_v4.by_protocol
        self._fast4 = nat64.fast_to_v6.by_protocol
        self._lifetimes = self.state.lifetimes

    def matches(self) -> Matches:
        """A client's IPv4 packets to our addresses as well: by way of the kernel they would come back as a stranger's,
        and isolation would not know them."""
        own = [IPv4Network(source) for source in self.nat64.sources]
        return Matches(ingress_dst=[IPv6Network(self.nat64.prefix.network), *own], egress_dst=own)

    # Packets

    def process(self, direction: Direction, batch: Sequence[Packet], out: Out, now: float) -> None:
        if direction is Direction.INGRESS:
            done = self._ingress(batch, out, now)
            self._translated.add(done, "to_v4")
        else:
            done = self._egress(batch, out, now)
            self._translated.add(done, "to_v6")
        self._schedule()

    def _ingress(self, batch: Sequence[Packet], out: Out, now: float) -> int:
        """→ how many packets became IPv4 ones."""
        fast, lifetimes, done = self._fast6, self._lifetimes, 0
        for packet in batch:
            frame = packet.frame
            protocol = frame[16]
            table = fast.get(protocol)
            known = table.get(frame[18:54]) if table is not None else None
            if (
                known is not None
                and known.session[FLAGS_AT] & READY
                and known.owner is packet.session
                and known.lease.open
            ):
                moved = known.rewrite(packet)
                if moved is not None:
                    if known.touched != now:
                        known.touched = now
                        touch(known.session, 0, now + lifetimes[protocol])
                    out.forward(packet, moved)
                    done += 1
                    continue
            done += self._slow(Direction.INGRESS, packet, out, now)
        return done

    def _egress(self, batch: Sequence[Packet], out: Out, now: float) -> int:
        fast, lifetimes, done = self._fast4, self._lifetimes, 0
        refresh = self.state.options.inbound_refresh
        for packet in batch:
            frame = packet.frame
            protocol = frame[19]
            table = fast.get(protocol) if frame[10] == 0x45 else None
            known = table.get(frame[22:34]) if table is not None else None
            if known is not None and known.session[FLAGS_AT] & READY and known.lease.open:
                moved = known.rewrite(packet)
                if moved is not None:
                    if known.touched != now:
                        known.touched = now
                        if refresh or protocol == TCP:
                            touch(known.session, 0, now + lifetimes[protocol])
                    out.forward(packet, moved)
                    done += 1
                    continue
            done += self._slow(Direction.EGRESS, packet, out, now)
        return done

    def _slow(self, direction: Direction, packet: Packet, out: Out, now: float) -> int:
        if kind(packet) is Kind.FRAGMENT:
            return self._fragment(direction, packet, out, now)
        return self._translate(direction, (packet,), packet, out, now)

    def _fragment(self, direction: Direction, packet: Packet, out: Out, now: float) -> int:
        added = self.fragments.add(packet, now)
        for lost, reason in added.dropped:
            out.drop(lost, f"{PLUGIN}.{reason}")
        if added.whole is not None:
            return self._translate(direction, added.parts, added.whole, out, now)
        if all(lost is not packet for lost, _ in added.dropped) and not out.hold(packet):
            for other in self.fragments.discard(packet):
                out.drop(other, f"{PLUGIN}.fragment_limit")
        return 0

    def _translate(self, direction: Direction, of: Sequence[Packet], packet: Packet, out: Out, now: float) -> int:
        """`of` became `packet`. → 1 if it goes on."""
        six = packet.header.version == 6
        outcome = self.nat64.from_client(packet, now) if six else self.nat64.from_outside(packet, now)
        if self._syns and outcome.session is not None:
            crossed = self._syns.pop(outcome.session.key4, None)
            if crossed is not None:
                out.drop(crossed, f"{PLUGIN}.{OPENED}")
        turned = outcome.turned
        if outcome.packets:
            if six or direction is Direction.EGRESS:
                out.forward(of, *outcome.packets)
                return 1
            turned = outcome.packets  # a client's IPv4 packet to one of our addresses
        if turned:
            for each in turned:
                out.inject(Direction.EGRESS, each, cause=of)
            if six:
                return 1
            self._translated.add(1, "to_v6")
            return 0
        if outcome.store is not None:
            self._store(outcome.store, of, out)
            return 0
        self._drop(of, packet, outcome, out, now)
        return 0

    def _store(self, key4: bytes, of: Sequence[Packet], out: Out) -> None:
        """Keep a SYN. One that came in fragments, or with data, is nobody's SYN."""
        syn = of[0]
        if len(of) > 1 or syn.ip_bytes > _MAX_SYN:
            self.state.forget_syn(key4)
            for part in of:
                out.drop(part, f"{PLUGIN}.no_binding")
        elif out.hold(syn):
            self._syns[key4] = syn
        else:
            self.state.forget_syn(key4)

    def _drop(self, of: Sequence[Packet], packet: Packet, outcome: Outcome, out: Out, now: float) -> None:
        for part in of:
            out.drop(part, f"{PLUGIN}.{outcome.reason}")
        if packet.version == 6:
            self._notices.dropped(packet, outcome.reason, now)
        if outcome.answer is not None:
            self._answer(of[0], outcome.answer, out, now, outcome.reason)

    def _answer(self, cause: Packet, error: Packet, out: Out, now: float, reason: str = "") -> None:
        """An ICMP error back to where `cause` came from, as often as they may be sent. Each client has a rate of its
        own. Those outside share one, and another one for path MTUs: scans of closed ports do not use that up."""
        if not self._limiters.allows(cause.session or reason == "too_big", now):
            self._errors.add(1, "suppressed")
            return
        self._errors.add(1, "sent")
        back = Direction.INGRESS if cause.session is None else Direction.EGRESS
        out.inject(back, error, cause=cause)

    # Time

    def on_wake(self, now: float, out: Out) -> None:
        for orphan in self._orphans:
            out.drop(orphan, f"{PLUGIN}.{CLIENT_GONE}")
        self._orphans.clear()
        expired = self.state.expire(now)
        for session in expired.probes:
            out.inject(Direction.EGRESS, probe(session, self.nat64.prefix))
        for key4 in expired.syns:
            syn = self._syns.pop(key4, None)
            if syn is not None:
                out.drop(syn, f"{PLUGIN}.{UNANSWERED}")
                error = self.nat64.unanswered(syn)
                if error is not None:
                    self._answer(syn, error, out, now)
        for parts, first in self.fragments.expire(now):
            for part in parts:
                out.drop(part, f"{PLUGIN}.fragment_timeout")
            if first is not None:
                self._reassembly_error(first, out, now)
        self._schedule(now)

    def _reassembly_error(self, first: Packet, out: Out, now: float) -> None:
        """The first fragment came, others did not: its sender is told (RFC 792, RFC 4443 section 3.3)."""
        problem = reassembly_timeout(first.version)
        assert problem.error is not None
        source = first.dst if first.version == 4 else self.nat64.own6
        error = answer(first, problem.error, source)
        if error is not None:
            self._answer(first, error, out, now)

    def _schedule(self, now: float | None = None) -> None:
        """Ask for the next call of `on_wake`; `now`: this is one, and what is left of its work waits a moment."""
        times = [time for time in (self.state.next_time(), self.fragments.next_expiry()) if time is not None]
        if self._orphans:
            times.append(0.0)
        if times:
            self._wake_at(min(times) if now is None else max(min(times), now + _SOON))

    # Sessions

    def session_opened(self, session: Session) -> None:
        self.state.open(session, session.mtu)
        self._take_addresses(session)

    def session_changed(self, session: Session, released: Sequence[Address]) -> None:
        gone = [address.packed for address in released]
        for address in gone:
            if self._addresses.get(address) is session:
                del self._addresses[address]
        if any(owner is session for owner in self._addresses.values()):
            self.state.release(session, gone)
        elif any(len(address) == 16 for address in gone):
            self.state.renew(session)
        self._take_addresses(session)

    def session_closed(self, session: Session, reason: str) -> None:
        self.state.close(session)
        self._orphans += self.fragments.forget(session)
        for key4 in [key4 for key4, syn in self._syns.items() if syn.session is session]:
            self.state.forget_syn(key4)
            self._orphans.append(self._syns.pop(key4))
        for address in [a for a, owner in self._addresses.items() if owner is session]:
            del self._addresses[address]
        self._notices.forget(session)
        self._limiters.forget(session)
        self._schedule()

    def mtu_changed(self, session: Session | None, mtu: int) -> None:
        if session is not None:
            self.state.set_mtu(session, mtu)

    def _take_addresses(self, session: Session) -> None:
        for address in session.leases:
            if address.version == 6:
                self._addresses[address.packed] = session
