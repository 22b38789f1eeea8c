"""Timers: one an owner, the earliest asked for holds."""

from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.pipeline.wake import Timers


def test_the_earliest_holds_until_it_has_come():
    timers = Timers()
    timers.at("a", 3.0)
    timers.at("a", 1.0)
    timers.at("a", 2.0)
    assert timers.next() == 1.0
    assert timers.due(0.9) == []
    assert timers.due(5.0) == ["a"]
    assert timers.next() is None
    timers.at("a", 7.0)
    assert timers.next() == 7.0


def test_cancelled_timers_are_not_due():
    timers = Timers()
    timers.at("a", 1.0)
    timers.at("b", 2.0)
    timers.cancel("a")
    timers.cancel("nobody")
    assert timers.next() == 2.0
    assert timers.due(3.0) == ["b"]


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 100)), max_size=40), st.floats(0, 100))
def test_each_owner_is_due_once_in_time(asked, now):
    timers = Timers()
    first = {}
    for owner, time in asked:
        timers.at(owner, time)
        first[owner] = min(time, first.get(owner, time))
    due = timers.due(now)
    assert sorted(due) == sorted(owner for owner, time in first.items() if time <= now)
    assert [first[owner] for owner in due] == sorted(first[owner] for owner in due)
    assert timers.next() == min((time for time in first.values() if time > now), default=None)
