"""Who may send what to whom: sessions made, refreshed, filtered, limited and expired (RFC 6146 section 3.5).

Pure: time and randomness are arguments. Each call does a bounded amount of work, whatever the state holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from vpnrs_nat64.state.bib import Bib
from vpnrs_nat64.state.model import ICMP, NOBODY, PROTOCOLS, TCP, UDP, Client, Refusal
from vpnrs_nat64.state.options import Options
from vpnrs_nat64.state.records import Binding, Session, address_of
from vpnrs_nat64.state.shards import Shards
from vpnrs_nat64.state.tcp import STEADY, TABLE, Input, State, Timer, input_of
from vpnrs_nat64.state.wheel import Wheel

# Sessions that one call of `expire` ends, of each kind: 1 to 4 ms, by the machine.
WORK = 100


class Stored(Enum):
    """The verdict on a SYN from outside that nobody waits for yet: keep it (RFC 6146 section 3.5.2.2, V4 INIT)."""

    SYN = "stored"


@dataclass
class Expired:
    """`probes` are established TCP sessions whose silence is to be probed, `syns` the keys of stored SYNs that nobody
    answered, `sessions` how many ended."""

    probes: list[Session] = field(default_factory=list)
    syns: list[bytes] = field(default_factory=list)
    sessions: int = 0


class Table:
    """The sessions of one protocol, by the bytes that packets of either side begin with."""

    def __init__(self) -> None:
        self.by4: Shards[bytearray] = Shards()
        self.by6: Shards[bytearray] = Shards()
        # How many sessions a binding has with an address, kept for address-dependent filtering only.
        self.peers: dict[bytes, int] = {}

    def of4(self, key4: bytes) -> Session | None:
        raw = self.by4.get(key4)
        return None if raw is None else Session(raw)

    def of6(self, key6: bytes) -> Session | None:
        raw = self.by6.get(key6)
        return None if raw is None else Session(raw)


class Sessions:
    """All state of one translator. An owner is whom a client's packets come from; its state dies with it."""

    def __init__(
        self,
        options: Options,
        random: Callable[[int], bytes],
        embed: Callable[[bytes], bytes],
        owner_of: Callable[[bytes], object] = lambda address: None,
    ) -> None:
        """`embed(v4)` is the IPv6 address that stands for an IPv4 one, both packed. `owner_of(v6)` finds the owner of
        a static binding's inner address."""
        self.options = options
        self.bibs = {p: Bib(p, options.sources, options.ports, random) for p in PROTOCOLS}
        self.tables = {p: Table() for p in PROTOCOLS}
        self.lifetimes = {TCP: options.tcp_established, UDP: options.udp, ICMP: options.icmp}
        self.clients: dict[object, Client] = {}
        self._by_number = {NOBODY.number: NOBODY}  # those that are being cleared away as well
        self._last_number = NOBODY.number
        self.created = dict.fromkeys(PROTOCOLS, 0)
        self.expired = dict.fromkeys(PROTOCOLS, 0)
        self._embed = embed
        self._owner_of = owner_of
        self._wheel: Wheel[Session] = Wheel(Session)
        self._syns: dict[bytes, float] = {}
        self._closing: list[Client] = []
        self._timers = {Timer.EST: options.tcp_established, Timer.TRANS: options.tcp_transitory}
        for static in options.static:
            self.bibs[static.protocol].add_static(static.inner, static.outer)

    # Packets

    def key6(self, inner: bytes, remote: bytes) -> bytes:
        """Inner address, remote's embedded address, inner port, remote port: as an IPv6 packet has them."""
        return inner[:16] + self._embed(remote[:4]) + inner[16:] + remote[4:]

    def outbound(
        self, owner: object, protocol: int, inner: bytes, remote: bytes, flags: int, now: float
    ) -> Session | Refusal:
        """A packet from a client that was opened. `inner` is 16 + 2 bytes, `remote` 4 + 2; `flags` are TCP's.

        A TCP segment without a session goes through an existing binding without making one: the session returned is
        in no table."""
        key6 = self.key6(inner, remote)
        given = input_of(flags, True)
        session = self.tables[protocol].of6(key6)
        if session is not None and (had := self.client_of(session)).owner == owner and had.open:
            self._apply(session, given, True, now)
            return session
        binding = self._owned(self.bibs[protocol].of_inner(inner), owner)
        if protocol == TCP and given is not Input.V6_SYN:
            return Refusal.NO_SESSION if binding is None else Session.of(binding, remote)
        client = self.clients[owner]
        refusal = self._limit(client, False)
        if refusal is not None:
            return refusal
        if binding is None:
            made = self._bind(protocol, client, inner)
            if isinstance(made, Refusal):
                return made
            binding = made
        session = self._add(binding, remote, key6)
        if self._syns.pop(session.key4, None) is not None:
            session.state = State.V4_INIT  # both sides opened at the same time
        self._begin(session, given, now)
        return session

    def inbound(self, protocol: int, key4: bytes, flags: int, now: float) -> Session | Refusal | Stored:
        """A packet from outside, by the key that a session's `key4` describes. `Stored.SYN`: keep the packet until
        `expire` names its key, or a session with that key is made."""
        table = self.tables[protocol]
        given = input_of(flags, False)
        session = table.of4(key4)
        if session is not None and self.client_of(session).open:
            self._apply(session, given, False, now)
            return session
        remote, outer = key4[:4] + key4[8:10], key4[4:8] + key4[10:]
        binding = self.bibs[protocol].of_outer(outer)
        if binding is None or not self._alive(binding):
            return self._unknown(protocol, given, key4, Refusal.NO_BINDING, now)
        if self.options.address_dependent and outer + remote[:4] not in table.peers:
            return self._unknown(protocol, given, key4, Refusal.FILTERED, now)
        if protocol == TCP and given is not Input.V4_SYN:
            return Session.of(binding, remote, True)
        refusal = self._limit(self.client_of(binding), True)
        if refusal is not None:
            return refusal
        session = self._add(binding, remote, self.key6(binding.inner, remote), from_outside=True)
        self._syns.pop(key4, None)
        self._begin(session, given, now)
        return session

    def find4(self, protocol: int, key4: bytes) -> Session | None:
        """The session that an ICMP error's embedded packet belongs to. Changes nothing (RFC 5508 REQ-6)."""
        session = self.tables[protocol].of4(key4)
        return session if session is not None and self.client_of(session).open else None

    def find6(self, protocol: int, inner: bytes, remote: bytes) -> Session | None:
        """As `find4`, for an ICMPv6 error."""
        session = self.tables[protocol].of6(self.key6(inner, remote))
        return session if session is not None and self.client_of(session).open else None

    def forget_syn(self, key4: bytes) -> None:
        """It could not be kept."""
        self._syns.pop(key4, None)

    def client_of(self, record: Binding | Session) -> Client:
        """Whose it is; NOBODY's for a static binding whose client is not there."""
        return self._by_number[record.client]

    # Owners

    def open(self, owner: object, mtu: int) -> None:
        """An owner that may send. Its source address is the one with the fewest clients."""
        load = dict.fromkeys(self.options.sources, 0)
        for client in self.clients.values():
            load[client.source] += 1
        self._last_number = (self._last_number + 1) % 2**32 or 1
        source = min(load, key=lambda source: load[source])
        client = self.clients[owner] = Client(owner, self._last_number, source, mtu)
        self._by_number[client.number] = client

    def set_mtu(self, owner: object, mtu: int) -> None:
        """Bytes. What was prepared for the old one is void."""
        self.clients[owner].set_mtu(mtu)

    def close(self, owner: object) -> None:
        """Nothing of the owner's is found from now on. What is more than a moment's work is left to `expire`."""
        client = self.clients.pop(owner, None)
        if client is not None:
            client.close()
            self._closing.append(client)
            self._clear_closed(WORK)

    def renew(self, owner: object) -> None:
        """The owner gave up all addresses that it had: it begins anew, as if another one."""
        client = self.clients.get(owner)
        if client is not None:
            self.close(owner)
            self.open(owner, client.mtu)

    def release(self, owner: object, addresses: Iterable[bytes]) -> None:
        """The owner gave these addresses up and has kept others: no binding of theirs stays. All of it is done at once,
        `renew` is for an owner that has none left."""
        client = self.clients.get(owner)
        gone = frozenset(address for address in addresses if len(address) == 16)
        if client is not None and gone:
            for binding in [b for b in self.bindings_of(client) if address_of(b.inner) in gone]:
                self._remove_binding(binding)

    # Time

    def expire(self, now: float) -> Expired:
        """What has come to its end, a bounded part of it: ask `next_time` when to go on."""
        done = Expired()
        self._clear_closed(WORK)
        for session in self._wheel.due(now, WORK):
            if session.protocol == TCP and session.state is State.EST and self.client_of(session).open:
                session.state, _ = TABLE[State.EST, Input.EXPIRY]
                session.ready = False
                session.deadline = now + self.options.tcp_transitory
                self._wheel.schedule(session)
                done.probes.append(session)
            else:
                self.expired[session.protocol] += 1
                done.sessions += 1
                self._remove(session)
        while self._syns:
            key4, deadline = next(iter(self._syns.items()))
            if deadline > now:
                break
            del self._syns[key4]
            done.syns.append(key4)
        return done

    def next_time(self) -> float | None:
        """When `expire` has something to do; in the past when it has not come to its end."""
        if self._closing:
            return 0.0
        times = [time for time in (self._wheel.next(), next(iter(self._syns.values()), None)) if time is not None]
        return min(times, default=None)

    # For readers

    def bindings_of(self, client: Client) -> Iterator[Binding]:
        return map(self.binding_of, client.bindings)

    def binding_of(self, key: bytes) -> Binding:
        """By its `key`, which somebody holds."""
        binding = self.bibs[key[0]].of_outer(key[1:])
        assert binding is not None
        return binding

    def sessions_of(self, binding: Binding, skip: int = 0) -> Iterator[Session]:
        by4, outer = self.tables[binding.protocol].by4, binding.outer
        return (Session(by4[_key4(remote, outer)]) for remote in binding.remotes(skip))

    def count_bindings(self) -> int:
        return sum(map(len, self.bibs.values()))

    def count_sessions(self) -> int:
        return sum(len(table.by4) for table in self.tables.values())

    # Inside

    def _apply(self, session: Session, given: Input, from_v6: bool, now: float) -> None:
        """A packet of a known session: its state and its lifetime."""
        protocol = session.protocol
        if protocol != TCP:
            if from_v6 or self.options.inbound_refresh:
                session.deadline = now + self.lifetimes[protocol]
            return
        before = session.state
        session.state, timer = TABLE[before, given]
        after = session.state
        if after not in STEADY:
            session.ready = False
        if timer is not Timer.KEEP:
            session.deadline = now + self._timers[timer]
            if after is not before:
                self._wheel.schedule(session)

    def _begin(self, session: Session, given: Input, now: float) -> None:
        """The first packet of a new session. Every step out of CLOSED that makes one sets a lifetime."""
        session.deadline = now + self.lifetimes[session.protocol]
        self._apply(session, given, True, now)
        self._wheel.schedule(session)

    def _unknown(self, protocol: int, given: Input, key4: bytes, refusal: Refusal, now: float) -> Refusal | Stored:
        if protocol != TCP or given is not Input.V4_SYN:
            return refusal
        if key4 in self._syns or len(self._syns) >= self.options.stored_syns:
            return refusal
        self._syns[key4] = now + self.options.tcp_incoming_syn
        return Stored.SYN

    def _alive(self, binding: Binding) -> bool:
        """Whether the binding's client is there. A static binding finds the one that has its address now."""
        client = self.client_of(binding)
        if client is not NOBODY:
            return client.open
        owner = self._owner_of(address_of(binding.inner))
        if owner is None or owner not in self.clients:
            return False
        self.bibs[binding.protocol].adopt(binding, self.clients[owner])
        return True

    def _owned(self, binding: Binding | None, owner: object) -> Binding | None:
        """The binding if it is this owner's. Another's, with the same address, is from before."""
        if binding is None:
            return None
        bib, client = self.bibs[binding.protocol], self.client_of(binding)
        if client.owner == owner and client.open:
            return binding
        if not client.open and not binding.static:
            bib.vacate(binding)  # `expire` does the rest
            return None
        if client is not NOBODY:
            self._remove_binding(binding)
        if not binding.static:
            return None
        bib.adopt(binding, self.clients[owner])
        return binding

    def _limit(self, client: Client, from_outside: bool) -> Refusal | None:
        """Strangers may use up half of a client's sessions, and of all: the other half is the clients' own."""
        share = 2 if from_outside else 1
        options = self.options
        if (
            client.sessions >= options.client_sessions // share
            or self.count_sessions() >= options.max_sessions // share
        ):
            return Refusal.SESSION_LIMIT
        return None

    def _bind(self, protocol: int, client: Client, inner: bytes) -> Binding | Refusal:
        if len(client.bindings) >= self.options.client_bindings or self.count_bindings() >= self.options.max_bindings:
            return Refusal.BINDING_LIMIT
        return self.bibs[protocol].add(client, inner) or Refusal.NO_PORT

    def _add(self, binding: Binding, remote: bytes, key6: bytes, from_outside: bool = False) -> Session:
        session = Session.of(binding, remote, from_outside)
        binding.gain(remote)
        table = self.tables[binding.protocol]
        table.by4[session.key4] = session.raw
        table.by6[key6] = session.raw
        if self.options.address_dependent:
            peer = binding.outer + address_of(remote)
            table.peers[peer] = table.peers.get(peer, 0) + 1
        self.client_of(binding).sessions += 1
        self.created[binding.protocol] += 1
        return session

    def _remove(self, session: Session) -> None:
        """One session, and its binding if it was the last one of it."""
        binding = self.binding_of(bytes((session.protocol,)) + session.outer)
        self._take_out(session, binding)
        if not binding.sessions and not binding.static:
            self.bibs[session.protocol].remove(binding, self.client_of(binding))

    def _take_out(self, session: Session, binding: Binding) -> None:
        remote, table = session.remote, self.tables[session.protocol]
        binding.lose(remote)
        self._wheel.remove(session)
        session.ready = False
        del table.by4[session.key4]
        key6 = self.key6(session.inner, remote)
        if table.by6.get(key6) is session.raw:  # not when the address has gone to another owner since
            del table.by6[key6]
        if self.options.address_dependent:
            peer = session.outer + address_of(remote)
            table.peers[peer] -= 1
            if not table.peers[peer]:
                del table.peers[peer]
        self.client_of(session).sessions -= 1

    def _remove_binding(self, binding: Binding) -> None:
        for session in self.sessions_of(binding):
            self._take_out(session, binding)
        self.bibs[binding.protocol].remove(binding, self.client_of(binding))

    def _clear_closed(self, work: int) -> None:
        while self._closing and work > 0:
            client = self._closing[-1]
            while client.bindings and work > 0:
                binding = self.binding_of(next(reversed(client.bindings)))
                for session in self.sessions_of(binding):
                    self._take_out(session, binding)
                    work -= 1
                    if work <= 0:
                        break
                if not binding.sessions:
                    self.bibs[binding.protocol].remove(binding, client)
                    work -= 1
            if not client.bindings:
                self._closing.pop()
                del self._by_number[client.number]


def _key4(remote: bytes, outer: bytes) -> bytes:
    return remote[:4] + outer[:4] + remote[4:] + outer[4:]
