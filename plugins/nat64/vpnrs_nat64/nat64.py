"""One packet's way through state and translator, without the fast path: `from_client` and `from_outside`.

Pure: what becomes of the packet is returned, and whoever calls carries it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vpnrs_core.packet.header import ICMP, ICMPV6, TCP, VNET_LENGTH
from vpnrs_core.packet.packet import Packet
from vpnrs_nat64.prepared import Direction
from vpnrs_nat64.reasons import CLIENT_GONE, ERROR_SESSION, OWN_SOURCE, PRIVATE
from vpnrs_nat64.state.model import Refusal
from vpnrs_nat64.state.records import Session, endpoint, port_of
from vpnrs_nat64.state.sessions import Sessions, Stored
from vpnrs_nat64.state.tcp import STEADY
from vpnrs_nat64.state.wheel import NO_SLOT
from vpnrs_nat64.translate.fast import Identifications, rewriter
from vpnrs_nat64.translate.headers import check_v4
from vpnrs_nat64.translate.icmp import answer, error_to_v4, error_to_v6
from vpnrs_nat64.translate.mtu import deliver_v4, deliver_v6
from vpnrs_nat64.translate.prefix import Prefix, valid_source_v4, valid_source_v6
from vpnrs_nat64.translate.problem import Problem, hop_limit, other_protocol, unreachable
from vpnrs_nat64.translate.tuples import Kind, Tuple, embedded_tuple, fault, kind, tuple_of

# What leaves here goes to the host's own IPv4, which knows the MTU of each way and says so (RFC 7915's MTU4_nexthop).
MTU4 = 65_535

_LIMITS = frozenset({Refusal.NO_PORT, Refusal.BINDING_LIMIT, Refusal.SESSION_LIMIT})


class Outcome(NamedTuple):
    """What becomes of a packet. One of: `packets` go on to the other side; `turned` ones go to a client (a hairpin);
    `store`: keep it until the state names this key; `reason`: it is dropped, and `answer`, if there is one, goes back
    to its sender, in the sender's own family. `session` is the one that it belongs to, also when it is dropped."""

    packets: Sequence[Packet] = ()
    turned: Sequence[Packet] = ()
    store: bytes | None = None
    reason: str = ""
    answer: Packet | None = None
    session: Session | None = None


class Nat64:
    """`sources` are the translator's IPv4 addresses, packed; a packet's `session` is the owner of its state."""

    def __init__(
        self,
        prefix: Prefix,
        sources: Sequence[bytes],
        state: Sessions,
        *,
        allow_private: bool = False,
        tos: int | None = None,
        first_ident: int = 0,
    ) -> None:
        """`tos` replaces TOS and traffic class, None: copied. `first_ident`: where IPv4 identifications begin."""
        self.prefix = prefix
        self.sources = frozenset(sources)
        self.state = state
        self.idents = Identifications(first_ident)
        self.fast_to_v4, self.fast_to_v6 = Direction(), Direction()
        self._allow_private = allow_private
        self._tos = tos
        # Our own errors to clients come from here: it is in the prefix, so that clients take them.
        self.own6 = prefix.embed(sources[0])

    # IPv6 → IPv4

    def from_client(self, packet: Packet, now: float) -> Outcome:
        """A packet to the prefix, whole. `packet.session` is its client."""
        what = kind(packet)
        if what is Kind.UNTRANSLATABLE or what is Kind.FRAGMENT:
            return self._refuse6(packet, fault(packet))
        if what is Kind.OTHER:
            return self._refuse6(packet, other_protocol(6))
        if packet.frame[VNET_LENGTH + 7] <= 1:
            return self._refuse6(packet, hop_limit(6))
        if not valid_source_v6(packet.src, self.prefix):
            return Outcome(reason="address")
        if packet.session not in self.state.clients:
            return Outcome(reason=CLIENT_GONE)
        if what is Kind.ICMP_ERROR:
            return self._error_from_client(packet)
        found = tuple_of(packet)
        assert found is not None
        remote_address = self.prefix.extract(found.dst)
        if remote_address is None:
            return Outcome(reason="address")
        if remote_address not in self.sources and not self.prefix.allows(remote_address, self._allow_private):
            never = not self.prefix.allows(remote_address, True)
            return Outcome(reason="address" if never else PRIVATE)
        protocol, inner, remote = self._ends6(found, remote_address)
        got = self.state.outbound(packet.session, protocol, inner, remote, _flags(packet, protocol), now)
        if isinstance(got, Refusal):
            problem = unreachable(6, got.value) if got in _LIMITS else Problem(got.value)
            return self._refuse6(packet, problem)
        return self._to_v4(packet, got, now)

    def _to_v4(self, packet: Packet, session: Session, now: float) -> Outcome:
        outer, remote = session.outer, session.remote
        moved = deliver_v4(
            packet,
            outer[:4],
            remote[:4],
            port_of(outer),
            None,
            self.idents.of(remote[:4], session.protocol).take(packet.segments),
            mtu=MTU4,
            tos=self._tos,
            shared=True,
        )
        if isinstance(moved, Problem):
            return self._refuse6(packet, moved)._replace(session=session)
        if remote[:4] in self.sources:
            return self._turn(packet, moved, session, now)
        self._prepare(session, True, now)
        return Outcome(packets=moved, session=session)

    def _error_from_client(self, packet: Packet) -> Outcome:
        found = embedded_tuple(packet)
        if found is None:
            return Outcome(reason="icmp_inner")
        remote_address = self.prefix.extract(found.dst)
        if remote_address is None:
            return Outcome(reason="address")
        protocol, inner, remote = self._ends6(found, remote_address)
        session = self.state.find6(protocol, inner, remote)
        if session is None or (client := self.state.client_of(session)).owner is not packet.session:
            return Outcome(reason=ERROR_SESSION)
        ident = self.idents.of(remote_address, ICMP).take()
        moved = error_to_v4(packet, self._tuple4(session), mtu4=MTU4, mtu6=client.mtu, ident=ident)
        if isinstance(moved, Problem):
            return Outcome(reason=moved.reason)
        if remote_address not in self.sources:
            return Outcome(packets=[moved])
        turned = self._error_from_outside(moved, hop=0)
        return Outcome(turned=turned.packets, reason=turned.reason)

    # Hairpin: from one client to another's binding, or its own (RFC 6146 section 3.8)

    def _turn(self, packet: Packet, moved: Sequence[Packet], session: Session, now: float) -> Outcome:
        """The IPv4 packets of `packet` come back at once. The hop limit has been counted down already."""
        turned: list[Packet] = []
        for each in moved:
            outcome = self.from_outside(each, now, hop=0)
            if outcome.store is not None:
                self.state.forget_syn(outcome.store)
                return Outcome(reason=Refusal.NO_BINDING.value)
            if outcome.reason:
                return Outcome(reason=outcome.reason, answer=self._answer6(outcome.answer))
            turned += outcome.packets
        return Outcome(turned=turned, session=session)

    def _answer6(self, error: Packet | None) -> Packet | None:
        """Our own IPv4 error about a hairpin's first half, to the client that sent it."""
        if error is None:
            return None
        back = self._error_from_outside(error, hop=0)
        return back.packets[0] if back.packets else None

    # IPv4 → IPv6

    def from_outside(self, packet: Packet, now: float, *, hop: int = 1) -> Outcome:
        """A packet to one of our addresses, whole. `hop` 0: the second half of a hairpin."""
        what = kind(packet)
        if what is Kind.UNTRANSLATABLE or what is Kind.FRAGMENT:
            return self._refuse4(packet, fault(packet))
        wrong = check_v4(packet.frame[VNET_LENGTH : VNET_LENGTH + packet.l4_offset])
        if wrong is not None:
            return self._refuse4(packet, wrong)
        if what is Kind.OTHER:
            return self._refuse4(packet, other_protocol(4))
        if packet.frame[VNET_LENGTH + 8] <= hop:
            return self._refuse4(packet, hop_limit(4))
        if what is Kind.ICMP_ERROR:
            return self._error_from_outside(packet, hop=hop)
        if not valid_source_v4(packet.src):
            return Outcome(reason="address")
        if hop and packet.src in self.sources:
            return Outcome(reason=OWN_SOURCE)
        if hop and not self.prefix.represents(packet.src, self._allow_private):
            return Outcome(reason=PRIVATE)
        found = tuple_of(packet)
        assert found is not None
        protocol, key4 = _key4(found)
        got = self.state.inbound(protocol, key4, _flags(packet, protocol), now)
        if got is Stored.SYN:
            return Outcome(store=key4)
        if isinstance(got, Refusal):
            # Who sends to a closed UDP port of a host hears of it as well; TCP and echoes are passed over in silence.
            silent = got is not Refusal.NO_BINDING or what is not Kind.UDP
            return self._refuse4(packet, Problem(got.value) if silent else unreachable(4, got.value, port=True))
        assert isinstance(got, Session)
        return self._to_v6(packet, got, now, hop)

    def _to_v6(self, packet: Packet, session: Session, now: float, hop: int) -> Outcome:
        inner = session.inner
        moved = deliver_v6(
            packet,
            self.prefix.embed(session.remote[:4]),
            inner[:16],
            None,
            port_of(inner),
            mtu=self.state.client_of(session).mtu,
            tos=self._tos,
            hop=hop,
        )
        if isinstance(moved, Problem):
            return self._refuse4(packet, moved)._replace(session=session)
        if hop:
            self._prepare(session, False, now)
        return Outcome(packets=moved, session=session)

    def _error_from_outside(self, packet: Packet, *, hop: int) -> Outcome:
        found = embedded_tuple(packet)
        if found is None:
            return Outcome(reason="icmp_inner")
        session = self.state.find4(*_key4(found))
        if session is None:
            return Outcome(reason=ERROR_SESSION)
        source = self.prefix.embed(packet.src)
        mtu6 = self.state.client_of(session).mtu
        moved = error_to_v6(packet, self._tuple6(session), source, mtu4=MTU4, mtu6=mtu6, hop=hop)
        if isinstance(moved, Problem):
            return Outcome(reason=moved.reason)
        return Outcome(packets=[moved])

    # Shared

    def unanswered(self, syn: Packet) -> Packet | None:
        """The error for a stored SYN that nobody answered (RFC 6146 section 3.5.2.2)."""
        problem = unreachable(4, "", port=True)
        assert problem.error is not None
        return answer(syn, problem.error, syn.dst)

    def _refuse6(self, packet: Packet, problem: Problem) -> Outcome:
        error = None
        if problem.error is not None and valid_source_v6(packet.src, self.prefix):
            error = answer(packet, problem.error, self.own6)
        return Outcome(reason=problem.reason, answer=error)

    def _refuse4(self, packet: Packet, problem: Problem) -> Outcome:
        error = None
        if problem.error is not None and valid_source_v4(packet.src):
            error = answer(packet, problem.error, packet.dst)
        return Outcome(reason=problem.reason, answer=error)

    def _ends6(self, found: Tuple, remote_address: bytes) -> tuple[int, bytes, bytes]:
        """→ the state's protocol, inner and remote endpoint. An echo has an id at the client's end only."""
        echo = found.protocol == ICMPV6
        remote = endpoint(remote_address, 0 if echo else found.dport)
        return (ICMP if echo else found.protocol), endpoint(found.src, found.sport), remote

    def _tuple6(self, session: Session) -> Tuple:
        """From the remote to the client, in IPv6."""
        inner, remote, echo = session.inner, session.remote, session.protocol == ICMP
        dport = port_of(inner)
        sport = dport if echo else port_of(remote)
        return Tuple(ICMPV6 if echo else session.protocol, self.prefix.embed(remote[:4]), inner[:16], sport, dport)

    def _tuple4(self, session: Session) -> Tuple:
        """From our address to the remote, in IPv4."""
        outer, remote = session.outer, session.remote
        sport = port_of(outer)
        dport = sport if session.protocol == ICMP else port_of(remote)
        return Tuple(session.protocol, outer[:4], remote[:4], sport, dport)

    def _prepare(self, session: Session, to_v4: bool, now: float) -> None:
        """A packet of the session has gone the slow way. The second one is worth a preparation, the first one may be
        the last."""
        if not self._may_be_fast(session):
            return
        protocol, key4 = session.protocol, session.key4
        key6 = self.state.key6(session.inner, session.remote)
        if not session.ready:
            # What was prepared before the state, or the client's MTU, changed must not come back to life.
            self.fast_to_v4.drop(protocol, key6)
            self.fast_to_v6.drop(protocol, key4)
            session.ready = True
            return
        fast, key = (self.fast_to_v4, key6) if to_v4 else (self.fast_to_v6, key4)
        if not fast.has_room(protocol, key, now):
            return
        client = self.state.client_of(session)
        six, four = self._tuple6(session), self._tuple4(session)
        idents = self.idents.of(four.dst, protocol)
        if to_v4:
            moving = rewriter(six.swapped(), four, MTU4, idents, self._tos)
        else:
            moving = rewriter(four.swapped(), six, client.mtu, idents, self._tos)
        fast.put(protocol, key, session, client, moving)

    def _may_be_fast(self, session: Session) -> bool:
        """Whether the session's packets may pass without the state machine. Hairpins pass twice, so they may not."""
        if session.slot == NO_SLOT or session.remote[:4] in self.sources or session.protocol == ICMP:
            return False
        return session.protocol != TCP or session.state in STEADY


def _key4(found: Tuple) -> tuple[int, bytes]:
    """→ the state's protocol and key of an IPv4 packet that arrives."""
    sport = 0 if found.protocol == ICMP else found.sport
    return found.protocol, found.src + found.dst + (sport << 16 | found.dport).to_bytes(4, "big")


def _flags(packet: Packet, protocol: int) -> int:
    return packet.frame[VNET_LENGTH + packet.l4_offset + 13] if protocol == TCP else 0
