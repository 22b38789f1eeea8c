"""Whatever clients and strangers do, in any order: the tables agree with each other, limits hold, nothing outlives its
owner, and no endpoint is anyone's but its binding's."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from nat64_world import SOURCE, World, inner, remote
from vpnrs_nat64.state.model import ICMP, TCP, UDP, Refusal
from vpnrs_nat64.state.options import Options
from vpnrs_nat64.state.records import Session
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
            assert self.world.owner(got) == owner
            assert got.inner == mine
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
            assert self.state.client_of(got).open
            assert self.world.owner(got) not in self.closed

    @rule(owner=consumes(owners))
    def close(self, owner):
        self.state.close(owner)
        self.closed.add(owner)

    @rule(seconds=st.sampled_from([0.0, 0.5, 6.0, 61.0, 241.0, 301.0, 7500.0]))
    def wait(self, seconds):
        self.world.wait(seconds)
        assert all(session.deadline >= self.world.now - 1 for session in self.sessions())
        assert all(self.state.client_of(session).open for session in self.sessions())

    def sessions(self):
        return [Session(raw) for table in self.state.tables.values() for raw in table.by4.values()]

    @invariant()
    def tables_agree(self):
        for protocol, bib in self.state.bibs.items():
            table = self.state.tables[protocol]
            listed = [session for binding in bib for session in self.state.sessions_of(binding)]
            assert len(listed) == len(set(listed)) == len(table.by4)
            assert all(table.of4(session.key4) == session for session in listed)
            assert all(table.of4(Session(raw).key4) == Session(raw) for raw in table.by6.values())
            assert all(bib.of_outer(binding.outer) == binding for binding in bib)
            found = [bib.of_inner(binding.inner) for binding in bib]
            assert all(each is None or bib.of_outer(each.outer) == each for each in found)
            assert all(binding.sessions for binding in bib)
            assert sum(ports.used for ports in bib.ports.values()) == len(bib)

    @invariant()
    def limits_hold(self):
        assert self.state.count_sessions() <= self.options.max_sessions
        assert self.state.count_bindings() <= self.options.max_bindings
        for client in self.state.clients.values():
            sessions = [s for binding in self.state.bindings_of(client) for s in self.state.sessions_of(binding)]
            assert client.sessions == len(sessions) <= self.options.client_sessions
            assert len(client.bindings) <= self.options.client_bindings

    @invariant()
    def everything_has_an_end(self):
        for session in self.sessions():
            assert 0 <= session.slot <= session.deadline + 1
            assert session.state is not State.CLOSED or session.protocol != TCP
            if session.state in STEADY:
                assert session.protocol == TCP
            assert self.state.bibs[session.protocol].of_outer(session.outer).client == session.client


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestState = Machine.TestCase
