"""The bound on what is tracked, against a plain list of entries."""

import hypothesis.strategies as st
from hypothesis import given
from vpnrs_ratelimit.tracker import Tracker

NAMES = st.sampled_from("abcdefgh")


@given(st.lists(st.tuples(NAMES, st.integers(1, 30), st.integers(0, 10), st.booleans()), max_size=200))
def test_never_more_than_the_limit_expired_first_then_the_least_recent(steps):
    limit = 3
    tracker, model, now = Tracker(limit), {}, 0.0
    for who, lasting, passed, forget in steps:
        now += passed
        if forget:
            tracker.forget(who)
            model.pop(who, None)
            continue
        known = who in model and model[who][0] > now
        before = model.pop(who, None)
        gone = tracker.update(who, now + lasting, now, add=1)
        if not known and len(model) >= limit:
            expired = [name for name, (until, _) in model.items() if until <= now]
            evicted = next(iter(model)) if not expired else None
            assert gone is not None
            assert (gone.expired, gone.evicted) == (len(expired), evicted)
            for name in [*expired, *([evicted] if evicted else [])]:
                del model[name]
        else:
            assert gone is None
        until, count = before if known else (0.0, 0)
        model[who] = (max(until, now + lasting), count + 1)
        assert len(tracker) == len(model) <= limit
        assert tracker.count(who) == model[who][1]
        live = {name: entry[1] for name, entry in model.items() if entry[0] > now}
        assert tracker.live(now) == len(live)
        assert dict(tracker.top(9, now)) == live


def test_what_it_remembers_of_old_updates_is_bounded_too():
    tracker = Tracker(10)
    for number in range(10_000):
        tracker.update("a", number + 5.0, float(number), add=1)
    assert len(tracker._expiries) <= 4 * 10 + 17
