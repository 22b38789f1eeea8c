"""The proposal, line by line: tiers and their defaults, eviction, observe-only, what resets and what is told."""

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from ratelimit_world import Gateway
from vpnrs_ratelimit.config import RateLimitConfig
from vpnrs_ratelimit.events import (
    AuthBlockedGlobal,
    AuthBlockedPerToken,
    AuthFailedInvalidToken,
    AuthRateLimitStateEviction,
)

from vpnrs_core.engine.logs import snake_case
from vpnrs_core.interfaces import Admit, Attempt, Code, Refuse
from vpnrs_core.testkit.clock import run


def test_the_defaults_are_the_proposals():
    config = RateLimitConfig()
    assert (config.per_credential.failures, config.per_credential.window, config.per_credential.block) == (5, 300, 900)
    assert (config.overall.failures, config.overall.window, config.overall.block) == (100, 60, 120)
    assert config.tracked == 10_000
    assert not config.observe_only
    assert config.when_store_fails == "refuse"
    others = (config.per_ipv4, config.per_ipv6_64, config.per_ipv6_56, config.per_principal)
    assert [rule.most for rule in others] == [0, 0, 0, 0]
    assert config.escalate == 1.0


async def test_five_failures_block_a_credential_for_900_seconds():
    g = Gateway()
    for _ in range(5):
        assert isinstance(await g.attempt("bad"), Admit)
        g.clock.advance(60)
    refused = await g.attempt("bad")
    assert (refused.code, refused.retry_after) == (Code.BLOCKED, 840.0)
    assert isinstance(await g.attempt("other"), Admit)
    g.clock.advance(839)
    assert (await g.attempt("bad")).code is Code.BLOCKED
    g.clock.advance(1)
    assert isinstance(await g.attempt("bad"), Admit)


async def test_attempts_that_are_refused_do_not_prolong_the_block():
    g = Gateway()
    await g.fail(5)
    for _ in range(90):
        assert (await g.attempt("bad")).code is Code.BLOCKED
        g.clock.advance(10)
    assert isinstance(await g.attempt("bad"), Admit)


async def test_a_hundred_failures_in_a_minute_block_all_for_two():
    g = Gateway()
    for number in range(100):
        assert isinstance(await g.attempt(f"bad{number}", source=f"198.51.100.{number}"), Admit)
        g.clock.advance(0.5)
    refused = await g.attempt("good", good=True)
    assert (refused.code, refused.retry_after) == (Code.BLOCKED, 119.5)
    g.clock.advance(119.5)
    assert isinstance(await g.attempt("good", good=True), Admit)


async def test_failures_that_are_older_than_the_window_count_no_more():
    g = Gateway()
    for number in range(300):
        await g.attempt(f"bad{number}")
        g.clock.advance(0.61)  # 98 in any minute
    assert not g.events(AuthBlockedGlobal)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 250), max_size=60))
def test_a_block_begins_with_the_fifth_failure_within_300_seconds_and_never_else(gaps):
    """Against a list of times: wherever the window is laid, and anew behind each block."""

    async def course():
        g = Gateway(overall={"failures": 0})
        now, failed, blocked_until = 0.0, [], 0.0
        for gap in gaps:
            g.clock.advance(gap)
            now += gap
            answer = await g.attempt("bad")
            if now < blocked_until:
                assert (answer.code, answer.retry_after) == (Code.BLOCKED, blocked_until - now)
                continue
            assert isinstance(answer, Admit)
            failed.append(now)
            if len([at for at in failed if at > now - 300]) >= 5:
                failed, blocked_until = [], now + 900

    run(course())


async def test_success_resets_the_credential_only():
    g = Gateway(overall={"failures": 10, "window": 60, "block": 120})
    for _ in range(2):
        await g.fail(4, "mine")
        assert isinstance(await g.attempt("mine", good=True), Admit)
    await g.fail(2, "other")
    assert (await g.attempt("mine", good=True)).code is Code.BLOCKED  # ten in all: a success resets nothing of that


async def test_a_success_that_is_refused_for_another_reason_resets_as_well():
    g = Gateway()
    await g.fail(4, "mine")
    attempt = Attempt("x", "vpnrs/1", "192.0.2.1", "token", b"mine", False)
    await g.check.before(attempt)
    await g.check.after(attempt, Code.POOL_EXHAUSTED, True)
    await g.fail(4, "mine")
    assert isinstance(await g.attempt("mine", good=True), Admit)


@pytest.mark.parametrize("code", [Code.INTERNAL, Code.POLICY, Code.SERVER_FULL, Code.AUTH_REQUIRED, Code.VERSION])
async def test_what_is_no_failed_authentication_counts_for_nothing(code):
    g = Gateway()
    await g.fail(200, code=code)
    assert isinstance(await g.attempt("bad"), Admit)


async def test_a_credential_without_fingerprint_counts_in_the_global_tier():
    g = Gateway()
    await g.fail(100, None)
    assert (await g.attempt(None)).code is Code.BLOCKED
    assert not g.events(AuthBlockedPerToken)


async def test_a_proven_resume_is_let_past_the_global_block_and_counted():
    g = Gateway()
    for number in range(100):
        await g.attempt(f"bad{number}")
    assert isinstance(await g.attempt("mine", resumed=True), Admit)
    assert (await g.attempt("mine", good=True)).code is Code.BLOCKED
    assert g.samples()["resumes_let_past:global"] == 1
    assert (await g.ask("status"))["figures"]["resumes_let_past"] == 1


async def test_a_resume_does_not_make_good_for_the_credential_that_came_with_it():
    g = Gateway()
    await g.fail(4, "guess")
    await g.attempt("guess", resumed=True)
    await g.attempt("guess")
    assert (await g.attempt("guess")).code is Code.BLOCKED
    assert (await g.attempt("guess", resumed=True)).code is Code.BLOCKED


async def test_observing_only_refuses_nobody_and_tells_what_it_would_have_done():
    async def course(**config):
        g = Gateway(**config)
        answers = []
        for number in range(40):
            answers.append(isinstance(await g.attempt("bad" if number % 2 else "worse"), Admit))
            g.clock.advance(10)
        return g, answers

    watching, answers = await course(observe_only=True)
    acting, real = await course()
    assert all(answers)
    assert not all(real)
    told, done = watching.events(AuthBlockedPerToken), acting.events(AuthBlockedPerToken)
    assert all(event.would_only for event in told)
    assert not any(event.would_only for event in done)
    assert [(e.who, e.began, e.retry_after) for e in told] == [(e.who, e.began, e.retry_after) for e in done]
    assert watching.samples()["failed_attempts:token"] == 40
    assert watching.samples()["refused_attempts:credential"] == acting.samples()["refused_attempts:credential"]
    assert not watching.check._let_past


async def test_ten_thousand_are_tracked_and_then_the_least_recently_updated_goes():
    g = Gateway(tracked=3, overall={"failures": 0})
    for who in "abc":
        await g.fail(4, who)
        g.clock.advance(1)
    await g.fail(4, "d")
    assert [(e.tier, e.who, e.expired) for e in g.events(AuthRateLimitStateEviction)] == [("credential", b"a".hex(), 0)]
    await g.fail(1, "b")
    assert (await g.attempt("b")).code is Code.BLOCKED  # still known
    await g.fail(1, "a")
    assert isinstance(await g.attempt("a"), Admit)  # forgotten, begins anew
    assert g.samples()["evictions:least_recent"] == 2


async def test_expired_entries_go_before_live_ones():
    g = Gateway(tracked=3, overall={"failures": 0})
    await g.fail(4, "old")
    g.clock.advance(200)
    await g.fail(4, "a")
    await g.fail(4, "b")
    g.clock.advance(100)  # "old" counts no more
    await g.fail(4, "c")
    assert [(e.who, e.expired) for e in g.events(AuthRateLimitStateEviction)] == [("", 1)]
    assert not g.samples().get("evictions:least_recent")
    for who in "abc":
        await g.fail(1, who)
        assert (await g.attempt(who)).code is Code.BLOCKED


async def test_the_store_keeps_no_more_than_is_tracked():
    g = Gateway(tracked=10, overall={"failures": 0}, escalate=2.0)
    for number in range(200):
        await g.fail(number % 7, f"x{number}")
    kept = [key async for key, _ in g.store.scan("ratelimit/", 10_000)]
    assert len(kept) <= 10 * 5
    assert len({key.split("/")[3] for key in kept}) <= 10


async def test_the_named_events_name_fingerprints_and_no_credential():
    g = Gateway()
    await g.fail(6, "sekret")
    for number in range(100):
        await g.attempt(f"bad{number}")
    await g.attempt("x")
    names = {snake_case(type(event).__name__) for event in g.ctx.events}
    assert {"auth_failed_invalid_token", "auth_blocked_per_token", "auth_blocked_global"} <= names
    assert snake_case(AuthRateLimitStateEviction.__name__) == "auth_rate_limit_state_eviction"
    first = g.events(AuthFailedInvalidToken)[0]
    assert (first.fingerprint, first.source, first.method) == (b"sekret".hex(), "192.0.2.1", "token")
    begun, refused = g.events(AuthBlockedPerToken)
    assert (begun.who, begun.began, begun.attempts, begun.retry_after) == (b"sekret".hex(), True, 0, 900.0)
    assert (refused.began, refused.attempts) == (False, 1)
    assert not re.search("sekret", repr(g.ctx.events))
    assert not re.search("sekret", repr(await g.ask("status")))


async def test_refusals_without_end_are_told_once_a_second_and_all_counted():
    g = Gateway()
    await g.fail(5)
    for _ in range(100):
        await g.attempt("bad")
        g.clock.advance(0.1)
    told = [e.attempts for e in g.events(AuthBlockedPerToken) if not e.began]
    assert len(told) <= 11
    assert 90 < sum(told) <= 100
    assert g.samples()["refused_attempts:credential"] == 100


async def test_what_strangers_cause_is_limited_in_the_log():
    g = Gateway()
    assert [kind.__name__ for kind in g.plugin.EVENTS if not getattr(kind, "LIMITED", False)] == ["AuthRateLimitStore"]


async def test_a_client_is_never_told_to_wait_less_than_the_block_lasts():
    g = Gateway()
    await g.fail(5)
    g.clock.advance(100.07)
    refused = await g.attempt("bad")
    assert refused.retry_after == 800.0
    g.clock.advance(refused.retry_after)
    assert isinstance(await g.attempt("bad"), Admit)


async def test_the_figures_of_the_proposal():
    g = Gateway()
    await g.fail(6, "often")
    await g.fail(2, "seldom")
    answer = await g.ask("status")
    assert answer["figures"]["failed_attempts"] == 7
    assert answer["figures"]["refused_attempts"] == 1
    assert answer["active_blocks"] == 1
    assert answer["blocks"] == [{"tier": "credential", "who": b"often".hex(), "seconds_left": 900.0, "level": 1}]
    assert answer["top_failing"][0] == {"fingerprint": b"often".hex(), "failures": 5}
    assert answer["figures"]["evictions"] == 0
    await g.service.count()
    assert (g.samples()["active_blocks:credential"], g.samples()["active_blocks:global"]) == (1, 0)
    g.clock.advance(900)
    assert (await g.ask("status"))["active_blocks"] == 0
    await g.service.count()
    assert g.samples()["active_blocks:credential"] == 0


async def test_a_clock_that_is_set_moves_no_block():
    g = Gateway()
    await g.fail(5)
    g.ctx.wall = lambda: 0.0
    answer = await g.attempt("bad")
    assert isinstance(answer, Refuse)
    assert answer.retry_after == 900.0
