"""The session table: parking, resume, supersession, revocation, expiry; leases come back exactly once on every path."""

from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vpnrs_core.interfaces.addresses import Lease
from vpnrs_core.interfaces.common import Code, Refuse
from vpnrs_core.interfaces.grant import Contribution, Principal
from vpnrs_core.interfaces.protocol import Granted, ResumeClaim
from vpnrs_core.interfaces.transport import Link
from vpnrs_core.session.leases import LeaseHolder, ReleaseLeases
from vpnrs_core.session.resume import ResumeSecrets, binding, make_proof
from vpnrs_core.session.session import SessionRecord, SessionState
from vpnrs_core.session.table import Action, CloseLink, Ended, Parked, Resumed, SessionTable, carry_out

BOUND = binding(b"c" * 32, b"s" * 32, b"spki")
REVOKED = Refuse(Code.AUTH_FAILED, detail="revoked")


class Port:
    """A link as the table sees it: an identity."""


def port() -> Link:
    return cast(Link, Port())


def fixed(n: int) -> bytes:
    return bytes(n)


def record(
    name: str = "s1", *, address: int = 1, expires_at: float | None = None, resumable: bool = True, **more: Any
) -> SessionRecord:
    return SessionRecord(
        name,
        Principal(more.pop("principal", "alice")),
        LeaseHolder(name, [Lease(IPv4Address(address))]),
        Granted(name, "alice", ()),
        on_end=more.pop("on_end", lambda *_: None),
        on_change=more.pop("on_change", lambda *_: None),
        secrets=ResumeSecrets(name, fixed) if resumable else None,
        expires_at=expires_at,
        **more,
    )


def opened(*records: SessionRecord) -> tuple[SessionTable, list[Link]]:
    table = SessionTable(fixed)
    links = [port() for _ in records]
    for one, link in zip(records, links, strict=True):
        table.open(one, link)
    return table, links


def kinds(actions: list[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


def test_a_lost_link_parks_and_the_window_ends_it() -> None:
    one = record()
    table, [link] = opened(one)
    assert table.link_down("s1", link, 100.0, graceful=False, reason="lost") == [Parked(one, 220.0, "lost")]
    assert one.state is SessionState.PARKED
    assert table.next_deadline() == 220.0
    assert table.tick(219.9) == []
    assert kinds(table.tick(220.0)) == ["Ended", "ReleaseLeases"]
    assert one.state is SessionState.ENDED
    assert len(table) == 0
    assert table.next_deadline() is None


def test_a_goodbye_frees_the_leases_at_once() -> None:
    one = record()
    table, [link] = opened(one)
    actions = table.link_down("s1", link, 100.0, graceful=True)
    assert actions == [
        Ended(one, None, "the client said goodbye"),
        ReleaseLeases("s1", (Lease(IPv4Address(1)),)),
    ]


def test_a_session_that_cannot_resume_ends_with_its_link() -> None:
    table, [link] = opened(record(resumable=False))
    assert kinds(table.link_down("s1", link, 0.0, graceful=False)) == ["Ended", "ReleaseLeases"]


def test_resume_replaces_the_older_link_which_then_changes_nothing() -> None:
    one = record()
    table, [old] = opened(one)
    new = port()
    assert table.link_up("s1", new, "replace") == [
        CloseLink(one, old, Refuse(Code.SUPERSEDED, detail="resumed on another connection"))
    ]
    assert table.link_down("s1", old, 5.0, graceful=True) == []
    assert one.links == (new,)


def test_resume_of_a_parked_session_keeps_its_leases() -> None:
    one = record()
    table, [link] = opened(one)
    table.link_down("s1", link, 0.0, graceful=False)
    assert table.link_up("s1", port(), "replace") == [Resumed(one)]
    assert table.tick(1000.0) == []
    assert one.state is SessionState.OPEN


def test_an_added_link_keeps_the_session_open_when_another_leaves() -> None:
    one = record()
    table, [first] = opened(one)
    second = port()
    assert table.link_up("s1", second, "add") == []
    assert table.link_down("s1", first, 0.0, graceful=True) == []
    assert one.links == (second,)


def test_expiry_and_revocation_end_parked_sessions_too() -> None:
    open_one, parked = record("s1", expires_at=50.0), record("s2", address=2, principal="bob")
    table, [link, gone] = opened(open_one, parked)
    table.link_down("s2", gone, 0.0, graceful=False)
    assert table.next_deadline() == 50.0
    expired = table.tick(50.0)
    assert kinds(expired) == ["CloseLink", "Ended", "ReleaseLeases"]
    assert isinstance(expired[0], CloseLink)
    assert expired[0].link is link
    assert kinds(table.revoke_principal("bob", REVOKED)) == ["Ended", "ReleaseLeases"]
    assert len(table) == 0


def test_an_exhausted_pool_takes_the_longest_parked() -> None:
    records = [record(f"s{n}", address=n) for n in (1, 2, 3)]
    table, links = opened(*records)
    assert table.take_longest_parked() == []
    table.link_down("s2", links[1], 5.0, graceful=False)
    table.link_down("s1", links[0], 7.0, graceful=False)
    ended = [a.session.id for _ in range(3) for a in table.take_longest_parked() if isinstance(a, Ended)]
    assert ended == ["s2", "s1"]


def test_a_claim_finds_its_session_and_nothing_else_does() -> None:
    one = record()
    table, _ = opened(one, record("s2", address=2, resumable=False))
    assert one.secrets is not None
    proof = make_proof(one.secrets.ticket.secret, BOUND)
    assert table.claim(ResumeClaim("s1", proof, BOUND, 0)) == (one, 0)
    assert table.claim(ResumeClaim("s1", bytes(32), BOUND, 0)) is None
    assert table.claim(ResumeClaim("s2", proof, BOUND, 0)) is None
    assert table.claim(ResumeClaim("nobody", proof, BOUND, 0)) is None


def test_a_resume_of_a_session_that_ended_meanwhile_is_told_so() -> None:
    table, _ = opened(record())
    table.end("s1", REVOKED)
    with pytest.raises(LookupError, match="has ended"):
        table.link_up("s1", port(), "replace")


def test_an_id_in_use_or_an_ended_record_is_not_opened() -> None:
    one = record()
    table, _ = opened(one)
    with pytest.raises(ValueError, match="exists already"):
        table.open(record(), port())
    table.end("s1", REVOKED)
    with pytest.raises(ValueError, match="has ended"):
        table.open(one, port())


def test_end_and_change_ask_the_core() -> None:
    asked: list[object] = []
    one = record(on_end=lambda s, r: asked.append((s.id, r)), on_change=lambda s, c: asked.append((s.id, c)))
    one.end(REVOKED)
    one.change(Contribution(mtu=1300))
    assert asked == [("s1", REVOKED), ("s1", Contribution(mtu=1300))]
    assert one.state is SessionState.OPEN


def test_a_predicate_that_raises_leaves_the_table_as_it_was() -> None:
    table, _ = opened(record(), record("s2", address=2))

    def broken(one: SessionRecord) -> bool:
        if one.id == "s2":
            raise RuntimeError("broken")
        return True

    with pytest.raises(RuntimeError):
        table.revoke(broken, REVOKED)
    assert len(table) == 2


class Host:
    """Carries actions out like the engine; any of them may fail, before or after it had its effect."""

    def __init__(self) -> None:
        self.released: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.failures: list[Action] = []

    def carry_out(self, actions: list[Action], fail_at: int | None) -> None:
        number = 0

        def do(action: Action) -> None:
            nonlocal number
            number += 1
            if isinstance(action, ReleaseLeases):
                self.released[action.session] += 1
            elif isinstance(action, Ended):
                self.ended[action.session.id] += 1
            if number - 1 == fail_at:
                raise RuntimeError("injected")

        carry_out(actions, do, lambda action, _: self.failures.append(action))


class LeasesComeBackOnce(RuleBasedStateMachine):
    """Any sequence of inputs, with an exception injected while any action is carried out."""

    faults = st.none() | st.integers(0, 3)

    def __init__(self) -> None:
        super().__init__()
        self.table = SessionTable(fixed, resume_window=30.0)
        self.host = Host()
        self.now = 0.0
        self.records: list[SessionRecord] = []
        self.links: list[tuple[str, Link]] = []

    @rule(expires=st.none() | st.floats(1, 100), resumable=st.booleans(), principal=st.sampled_from(["alice", "bob"]))
    def open(self, expires: float | None, resumable: bool, principal: str) -> None:
        name, link = f"s{len(self.records)}", port()
        at = None if expires is None else self.now + expires
        one = record(name, address=len(self.records) + 1, expires_at=at, resumable=resumable, principal=principal)
        self.records.append(one)
        self.links.append((name, link))
        self.table.open(one, link)

    @rule(data=st.data(), graceful=st.booleans(), fault=faults)
    def link_down(self, data: Any, graceful: bool, fault: int | None) -> None:
        if self.links:
            name, link = data.draw(st.sampled_from(self.links))
            self.host.carry_out(self.table.link_down(name, link, self.now, graceful=graceful), fault)

    @rule(data=st.data(), mode=st.sampled_from(["replace", "add"]), fault=faults)
    def link_up(self, data: Any, mode: Any, fault: int | None) -> None:
        if self.records:
            one, link = data.draw(st.sampled_from(self.records)), port()
            try:
                actions = self.table.link_up(one.id, link, mode)
            except LookupError:
                assert one.state is SessionState.ENDED
                return
            self.links.append((one.id, link))
            self.host.carry_out(actions, fault)

    @rule(seconds=st.floats(0, 60), fault=faults)
    def time_passes(self, seconds: float, fault: int | None) -> None:
        self.now += seconds
        self.host.carry_out(self.table.tick(self.now), fault)
        due = self.table.next_deadline()
        assert due is None or due > self.now

    @rule(principal=st.sampled_from(["alice", "bob"]), raises=st.booleans(), fault=faults)
    def revoke(self, principal: str, raises: bool, fault: int | None) -> None:
        def concerns(one: SessionRecord) -> bool:
            if raises:
                raise RuntimeError("injected")
            return one.principal.name == principal

        try:
            actions = self.table.revoke(concerns, REVOKED)
        except RuntimeError:
            return
        self.host.carry_out(actions, fault)

    @rule(fault=faults)
    def pool_is_exhausted(self, fault: int | None) -> None:
        self.host.carry_out(self.table.take_longest_parked(), fault)

    @rule(data=st.data(), fault=faults)
    def end(self, data: Any, fault: int | None) -> None:
        if self.records:
            self.host.carry_out(self.table.end(data.draw(st.sampled_from(self.records)).id, REVOKED), fault)

    @rule(data=st.data(), address=st.integers(1000, 2000))
    def late_renewal(self, data: Any, address: int) -> None:
        """A renewal may answer after the end; what it brings is not the table's to release a second time."""
        if self.records:
            one = data.draw(st.sampled_from(self.records))
            if one.state is not SessionState.ENDED:
                one.holder.replace([*one.holder.leases, Lease(IPv4Address(address))])

    @invariant()
    def states_and_links_agree(self) -> None:
        for one in self.table:
            assert (one.state is SessionState.OPEN) == bool(one.links)
            assert (one.parked_at is not None) == (one.state is SessionState.PARKED)

    @invariant()
    def released_exactly_when_ended(self) -> None:
        for one in self.records:
            ended = one.state is SessionState.ENDED
            assert self.host.released[one.id] == self.host.ended[one.id] == int(ended)
            assert (self.table.get(one.id) is None) == ended

    def teardown(self) -> None:
        self.host.carry_out(self.table.revoke(lambda _: True, REVOKED), None)
        assert all(self.host.released[one.id] == 1 for one in self.records)


LeasesComeBackOnce.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_leases_come_back_exactly_once = LeasesComeBackOnce.TestCase


def attempt(fail_at: int | None, host: Host) -> list[Action]:
    """The order of an attempt: allocate, grant, open, tell; whatever raises gives the leases back by the holder."""
    steps: list[Callable[[], object]] = []
    one = record()
    table = SessionTable(fixed)
    steps = [lambda: one.holder.leases, lambda: table.open(one, port()), lambda: None]
    try:
        for number, step in enumerate(steps):
            if number == fail_at:
                raise RuntimeError("injected")
            step()
    except RuntimeError:
        return [*table.end(one.id, Refuse(Code.INTERNAL)), *one.holder.release()]
    return table.end(one.id, REVOKED)


@pytest.mark.parametrize("fail_at", [None, 0, 1, 2])
def test_an_attempt_that_fails_anywhere_gives_its_leases_back_once(fail_at: int | None) -> None:
    host = Host()
    host.carry_out(attempt(fail_at, host), None)
    assert host.released == {"s1": 1}
