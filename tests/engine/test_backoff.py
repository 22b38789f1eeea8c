"""When the client tries again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.engine.backoff import LONGEST_SPREAD, Backoff, BackoffRules, Pause


def none():
    return 0.0


def test_waits_double_up_to_the_longest():
    backoff = Backoff(BackoffRules(first=1, longest=60, jitter=0), none)
    assert [backoff.failed().seconds for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_thousand_failures_overflow_nothing():
    backoff = Backoff(BackoffRules(jitter=0), none)
    assert {backoff.failed().seconds for _ in range(1000)} >= {1, 60}


def test_jitter_is_added_and_bounded():
    backoff = Backoff(BackoffRules(first=1, jitter=0.5), lambda: 0.999)
    assert 1.49 < backoff.failed().seconds < 1.5


def test_only_a_lasting_connection_begins_anew():
    backoff = Backoff(BackoffRules(first=1, jitter=0, stable=30), none)
    assert [backoff.failed(lasted).seconds for lasted in (0, 29.9, 29.9, 30, 0)] == [1, 2, 4, 1, 2]


def test_the_limit_is_reached_by_loops_of_connect_and_drop():
    backoff = Backoff(BackoffRules(attempts=3, jitter=0), none)
    assert [backoff.failed(5.0) for _ in range(3)] == [Pause(1), Pause(2), None]


@pytest.mark.parametrize(("wish", "delay"), [(None, 1), (0.2, 1), (90, 90)])
def test_the_servers_wish_is_a_minimum(wish, delay):
    assert Backoff(BackoffRules(first=1, jitter=0), none).failed(retry_after=wish).seconds == delay


@pytest.mark.parametrize(("wish", "latest"), [(1.0, 1.5), (100.0, 110.0), (900.0, 930.0), (1e9, 1e9 + LONGEST_SPREAD)])
@given(st.floats(0, 1, exclude_max=True))
def test_those_whom_a_server_sent_away_at_once_come_back_one_by_one_and_never_earlier_than_it_asked(wish, latest, u):
    pause = Backoff(BackoffRules(first=0.001), lambda: u).failed(retry_after=wish)
    assert wish <= pause.least <= pause.seconds <= latest
    assert pause.least == pytest.approx(wish + u * (latest - wish))


def test_nothing_but_a_servers_wish_must_be_waited_for():
    backoff = Backoff(BackoffRules(first=60, jitter=0), none)
    assert [backoff.failed(retry_after=wish) for wish in (None, 0.0, 20.0)] == [Pause(60), Pause(60), Pause(60, 20)]
