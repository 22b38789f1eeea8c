"""Plugins that raise, hang or answer nonsense at each place of an attempt: it is refused, they are named, and what was
taken is given back once."""

import asyncio

import pytest

from vpnrs_core.events import AttemptRefused, SessionOpened
from vpnrs_core.interfaces import Accept, Admit, Challenge, Code, Principal, Refuse, Reject
from vpnrs_core.testkit.clock import on_clock


async def raises(*_):
    raise RuntimeError("broken")


def raises_when_called(*_):
    raise RuntimeError("broken")


async def hangs(*_):
    await asyncio.sleep(3600)


async def times_out_by_itself(*_):
    raise TimeoutError("its own database")


async def answers_nonsense(*_):
    return "nonsense"


def returns_no_awaitable(*_):
    return None


async def awaits_what_it_cancelled(*_):
    other = asyncio.ensure_future(hangs())
    other.cancel()
    await other


FAULTS = (
    raises,
    raises_when_called,
    awaits_what_it_cancelled,
    hangs,
    times_out_by_itself,
    answers_nonsense,
    returns_no_awaitable,
)
# hook → where it is on the bench, and the plugin that must be named
HOOKS = {
    "before": (lambda b: b.check, "p_check"),
    "begin": (lambda b: b.method.half, "p_auth"),
    "contribute": (lambda b: b.contributor, "p_grant"),
    "acquire": (lambda b: b.allocator, "ledger"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("hook", HOOKS)
@on_clock
async def test_a_plugin_that_fails_refuses_the_attempt_and_is_named(bench, hook, fault):
    b = bench()
    where, plugin = HOOKS[hook]
    setattr(where(b), hook, fault)
    answer = await b.attempt()
    assert isinstance(answer, Refuse)
    assert answer.code is Code.INTERNAL
    assert b.failures() == [(plugin, hook)]
    assert [(e.code, e.source) for e in b.events if isinstance(e, AttemptRefused)] == [("internal", "192.0.2.1")]
    assert b.check.told == [(Code.INTERNAL, hook in ("contribute", "acquire"))]
    assert b.allocator.acquired == b.allocator.released == []
    assert not b.sessions.running
    assert not len(b.sessions.table)


@pytest.mark.parametrize("hook", ["identify", "begin", "answer"])
@on_clock
async def test_what_a_method_raises_is_told_without_its_text_which_may_hold_the_credential(bench, hook):
    b = bench()

    def fault(*_):
        raise KeyError("the presented sekret")

    async def asks(*_):
        return Challenge({})

    async def answered(_):
        return {}

    setattr(b.method if hook == "identify" else b.method.half, hook, fault)
    if hook == "answer":
        b.method.half.begin = asks
    answer = await b.attempt(ask=answered)
    assert answer.code is Code.INTERNAL
    assert answer.detail.startswith(f"plugin p_auth, {hook}: KeyError (")
    assert "test_gate.py" in answer.detail
    assert b.failures() == [("p_auth", hook)]
    assert "sekret" not in repr((answer, b.events))


@on_clock
async def test_a_deadline_is_told_from_a_plugins_own_timeout(bench):
    for fault, text in ((hangs, "took longer than 5 s"), (times_out_by_itself, "its own database")):
        b = bench()
        b.check.before = fault
        assert text in (await b.attempt()).detail


@pytest.mark.parametrize("fault", FAULTS[:4], ids=lambda fault: fault.__name__)
@on_clock
async def test_a_check_that_fails_afterwards_changes_nothing_and_hides_it_from_nobody(bench, fault):
    b = bench()
    b.check.after = fault
    answer = await b.attempt()
    assert not isinstance(answer, Refuse)
    assert b.failures() == [("p_check", "after")]
    assert b.second.told == [(Principal("alice"), True)]


@pytest.mark.parametrize(
    ("hook", "fault"),
    [("identify", raises_when_called), ("identify", lambda *_: "text"), ("server", raises_when_called)],
)
@on_clock
async def test_an_authenticator_that_fails_before_its_first_round_is_named(bench, hook, fault):
    b = bench()
    setattr(b.method, hook, fault)
    assert (await b.attempt()).code is Code.INTERNAL
    assert b.failures() == [("p_auth", hook)]
    assert b.check.told == [(Code.INTERNAL, False)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@on_clock
async def test_a_round_that_fails_is_named_as_the_round(bench, fault):
    async def challenges(*_):
        return Challenge({})

    async def ask(body):
        return {"answer": 1}

    b = bench()
    b.method.half.begin, b.method.half.answer = challenges, fault
    assert (await b.attempt(ask=ask)).code is Code.INTERNAL
    assert b.failures() == [("p_auth", "answer")]


@on_clock
async def test_challenges_without_end_are_refused(bench):
    async def challenges(*_):
        return Challenge({})

    async def ask(body):
        return {}

    b = bench()
    b.method.half.begin = b.method.half.answer = challenges
    assert (await b.attempt(ask=ask)).code is Code.AUTH_FAILED
    assert (await b.attempt()).code is Code.AUTH_FAILED  # a protocol that cannot ask
    assert b.failures() == []


@on_clock
async def test_a_peer_that_does_not_answer_is_refused_and_no_plugin_blamed(bench):
    async def challenges(*_):
        return Challenge({})

    b = bench()
    b.method.half.begin = challenges
    assert (await b.attempt(ask=hangs)).code is Code.AUTH_FAILED
    assert b.failures() == []
    assert b.check.told == [(Code.AUTH_FAILED, False)]


@on_clock
async def test_a_codec_that_cannot_open_gives_the_lease_back_and_leaves_no_session(bench):
    b = bench()
    b.codec.open = raises_when_called
    answer = await b.attempt()
    assert answer.code is Code.INTERNAL
    assert len(b.allocator.acquired) == 1
    assert b.allocator.released == b.allocator.acquired
    assert not b.sessions.running
    assert not b.pipeline.peers
    assert b.check.told == [(Code.INTERNAL, True)]


@on_clock
async def test_vetoes_and_refusals_keep_their_code_and_blame_nobody(bench):
    async def veto(*_):
        return Refuse(Code.BLOCKED, retry_after=30.0)

    async def reject(*_):
        return Reject("wrong")

    for place, hook, fault, code in (
        ("check", "before", veto, Code.BLOCKED),
        ("contributor", "contribute", veto, Code.BLOCKED),
        ("half", "begin", reject, Code.AUTH_FAILED),
    ):
        b = bench()
        setattr(b.method.half if place == "half" else getattr(b, place), hook, fault)
        answer = await b.attempt()
        assert answer.code is code
        assert b.failures() == []
        assert b.check.told == b.second.told == [(code, place == "contributor")]


@on_clock
async def test_the_attempt_that_is_cancelled_is_told_afterwards_and_leaks_nothing(bench):
    for place, hook in (("check", "before"), ("contributor", "contribute"), ("allocator", "acquire")):
        b = bench()
        setattr(getattr(b, place), hook, hangs)
        task = asyncio.create_task(b.attempt())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await b.gate.finished()
        assert b.second.told == [(Code.INTERNAL, place != "check")]
        assert b.allocator.acquired == b.allocator.released
        assert not b.sessions.running


@on_clock
async def test_leases_of_every_session_come_back_once_whatever_ends_it(bench):
    b = bench(resume_window=5.0)
    gone, left, revoked = [await b.attempt() for _ in range(3)]
    gone.closed("lost")
    gone.closed("lost")
    left.closed("bye", graceful=True)
    revoked.session.end(Refuse(Code.AUTH_FAILED))
    revoked.closed("told", graceful=False)
    await asyncio.sleep(1)
    assert {session for session, _ in b.allocator.released} == {left.session.id, revoked.session.id}
    await asyncio.sleep(5)
    await b.sessions.stop(Refuse(Code.SHUTTING_DOWN))
    assert sorted(b.allocator.released, key=repr) == sorted(b.allocator.acquired, key=repr)
    assert len(b.allocator.released) == 3


@on_clock
async def test_an_exhausted_pool_takes_back_the_longest_parked_session_first(bench):
    b = bench()
    links = [await b.attempt() for _ in range(3)]
    assert (await b.attempt()).code is Code.POOL_EXHAUSTED
    for link in (links[1], links[0]):
        link.closed("lost")
        await asyncio.sleep(1)
    newer = await b.attempt()
    assert newer.session.leases == links[1].session.leases
    assert b.sessions.table.get(links[1].session.id) is None
    assert b.sessions.table.get(links[0].session.id) is not None
    assert [e.session for e in b.events if isinstance(e, SessionOpened)][-1] == newer.session.id


@on_clock
async def test_a_full_server_takes_the_longest_parked_place_or_refuses_for_now(bench):
    b = bench(max_sessions=2)
    first, second = await b.attempt(), await b.attempt()
    assert (await b.attempt()).code is Code.SERVER_FULL
    second.closed("lost")
    assert not isinstance(await b.attempt(), Refuse)
    assert b.sessions.table.get(second.session.id) is None
    assert b.sessions.table.get(first.session.id) is not None


@on_clock
async def test_one_principal_takes_no_more_than_its_share_and_gives_up_its_own_parked_sessions_first(bench):
    async def of(name):
        async def begin(*_):
            return Accept(Principal(name))

        b.method.half.begin = begin
        return await b.attempt()

    b = bench(max_per_principal=1)
    other = await of("bob")
    other.closed("lost")
    await asyncio.sleep(1)
    mine = await of("alice")
    refused = await of("alice")
    assert refused.code is Code.SERVER_FULL
    assert "alice" in refused.detail
    mine.closed("lost")
    again = await of("alice")
    assert b.sessions.table.get(mine.session.id) is None
    assert b.sessions.table.get(other.session.id) is not None  # parked for longer, but another's
    assert not isinstance(again, Refuse)


@on_clock
async def test_attempts_at_once_never_pass_the_limit(bench):
    async def slow(*_):
        await asyncio.sleep(1)
        return Admit()

    b = bench(max_sessions=2)
    b.check.before = slow
    answers = await asyncio.gather(*(b.attempt() for _ in range(5)))
    assert sum(not isinstance(answer, Refuse) for answer in answers) == 2
    assert {answer.code for answer in answers if isinstance(answer, Refuse)} == {Code.SERVER_FULL}
    assert len(b.allocator.acquired) - len(b.allocator.released) == 2


@on_clock
async def test_a_stopping_gate_lets_nobody_in(bench):
    b = bench()

    async def stops_meanwhile(*_):
        b.gate.stopping = True
        return Accept(Principal("alice"))

    b.method.half.begin = stops_meanwhile
    assert (await b.attempt()).code is Code.SHUTTING_DOWN
    assert (await b.attempt()).code is Code.SHUTTING_DOWN
    assert b.allocator.acquired == b.allocator.released


@on_clock
async def test_an_allocator_that_cannot_release_is_named_and_harms_nobody(bench):
    b = bench()
    link = await b.attempt()
    b.allocator.release = raises
    link.closed("bye", graceful=True)
    await b.sessions.released()
    assert b.failures() == [("ledger", "release")]
    assert not isinstance(await b.attempt(), Refuse)


@on_clock
async def test_an_allocator_that_hangs_in_release_delays_nobody_for_long(bench):
    b = bench()
    link = await b.attempt()
    b.allocator.release = hangs
    link.closed("bye", graceful=True)
    began = asyncio.get_running_loop().time()
    await b.sessions.stop(Refuse(Code.SHUTTING_DOWN), within=0.5)
    assert asyncio.get_running_loop().time() - began <= 0.5
    await b.sessions.released()
    assert asyncio.get_running_loop().time() - began <= 5
    assert b.failures() == [("ledger", "release")]
