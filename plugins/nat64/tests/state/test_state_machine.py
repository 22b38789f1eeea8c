"""Whatever clients and strangers do, in any order: the tables agree with each other, limits hold, nothing outlives its
owner, and no endpoint is anyone's but its binding's."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from nat64_world import SOURCE, World, inner, remote
from vpnrs_nat64.state.model import ICMP, TCP, UDP, Refusal, Session
from vpnrs_nat64.state.options import Options
from vpnrs_nat64.state.sessions import Sessions
from vpnrs_nat64.state.tcp import FIN, RST, STEADY, SYN, State

PROTOCOL = st.sampled_from([TCP, UDP, ICMP])
FLAGS = st.sampled_from([0, SYN, SYN | 0x10, FIN, RST])
PORT = st.sampled_from([1, 39999, 40000, 40001, 40002])
HOST = st.sampled_from(["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "10.77.0.254:40000"])


class Machine(RuleBasedStateMachine):
    owners = Bundle("owners")

    def __init__(self):
        super().__init__()
        self.world = World(
            owners=(), ports=(39998, 40005), client_bindings=6, client_sessions=10, max_bindings=12, max_sessions=18,
            stored_syns=3,
        )  # fmt: skip
        self.state: Sessions = self.world.state
        self.options: Options = self.state.options
        self.count = 0
        self.closed = set()
        self.seen: list[Session] = []

    @rule(target=owners, address=st.integers(1, 3))
    def open(self, address):
        """Addresses come back under other owners, as leases do; an owner holds one address."""
        self.count += 1
        owner = (self.count, address)
        for other in [o for o in self.state.clients if o[1] == address]:
            self.state.close(other)
            self.closed.add(other)
        self.state.open(owner, 1280)
        return owner

    @rule(owner=owners, protocol=PROTOCOL, port=PORT, to=HOST, flags=FLAGS)
    def outbound(self, owner, protocol, port, to, flags):
        if owner in self.closed:
            return
        mine = inner(owner[1], port)
        got = self.state.outbound(owner, protocol, mine, remote(to), flags, self.world.now)
        if isinstance(got, Session):
            assert got.client.owner == owner
            assert got.binding.inner == mine
            assert got.remote == remote(to)
            self.seen.append(got)
        elif got is Refusal.NO_SESSION:
            assert protocol == TCP

    @rule(protocol=PROTOCOL, port=PORT, frm=HOST, flags=FLAGS)
    def inbound(self, protocol, port, frm, flags):
        far = remote(frm)
        key4 = far[:4] + SOURCE + far[4:] + port.to_bytes(2, "big")
        got = self.state.inbound(protocol, key4, flags, self.world.now)
        if isinstance(got, Session):
            assert got.key4 == key4
            assert got.client.open
            assert got.client.owner not in self.closed

    @rule(owner=consumes(owners))
    def close(self, owner):
        self.state.close(owner)
        self.closed.add(owner)

    @rule(seconds=st.sampled_from([0.0, 0.5, 6.0, 61.0, 241.0, 301.0, 7500.0]))
    def wait(self, seconds):
        self.world.wait(seconds)
        for table in self.state.tables.values():
            assert all(session.deadline >= self.world.now - 1 for session in table.by4.values())
        assert all(client.open for client in self.owners_with_state())

    def owners_with_state(self):
        return {session.client for table in self.state.tables.values() for session in table.by4.values()}

    @invariant()
    def tables_agree(self):
        for protocol, bib in self.state.bibs.items():
            table = self.state.tables[protocol]
            listed = [session for binding in bib.by_outer.values() for session in binding.sessions()]
            assert sorted(map(id, listed)) == sorted(map(id, table.by4.values()))
            assert all(table.by4[session.key4] is session for session in listed)
            assert all(table.by4[session.key4] is session for session in table.by6.values())
            assert all(binding.outer == outer for outer, binding in bib.by_outer.items())
            assert all(bib.by_outer[binding.outer] is binding for binding in bib.by_inner.values())
            assert all(binding.first is not None for binding in bib.by_outer.values())
            assert sum(ports.used for ports in bib.ports.values()) == len(bib.by_outer)

    @invariant()
    def limits_hold(self):
        assert self.state.count_sessions() <= self.options.max_sessions
        assert self.state.count_bindings() <= self.options.max_bindings
        for client in self.state.clients.values():
            sessions = [s for binding in client.bindings for s in binding.sessions()]
            assert client.sessions == len(sessions) <= self.options.client_sessions
            assert len(client.bindings) <= self.options.client_bindings

    @invariant()
    def everything_has_an_end(self):
        for table in self.state.tables.values():
            for session in table.by4.values():
                assert session.slot >= 0
                assert session.slot <= session.deadline + 1
                assert session.state is not State.CLOSED or session.binding.protocol != TCP
                if session.state in STEADY:
                    assert session.binding.protocol == TCP


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestState = Machine.TestCase
