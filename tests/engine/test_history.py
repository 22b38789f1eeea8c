"""Rates and the last minute, from counters that somebody else keeps."""

from __future__ import annotations

import pytest

from vpnrs_core.counters import FlowCounters
from vpnrs_core.engine.history import INTERVAL, SLOTS, History


def test_rates_are_what_the_counters_moved_by():
    counters = FlowCounters()
    history = History(lambda: {"one": counters})
    for second in range(3):
        history.sample(second * INTERVAL)
        counters.ingress_bytes += 2000
        counters.egress_bytes += 500
    now = 2 * INTERVAL + 1.0
    rates = history.rates("one", counters, now)
    assert rates.ingress == pytest.approx(2000)
    assert rates.ingress_history == [1000.0, 1000.0]
    assert rates.egress_history == [250.0, 250.0]
    # So soon after a sample the one before it is the better ground.
    assert history.rates("one", counters, 2 * INTERVAL + 0.1).ingress == pytest.approx(4000 / 2.1)


def test_one_minute_is_kept():
    counters = FlowCounters()
    history = History(lambda: {"one": counters})
    for n in range(100):
        counters.ingress_bytes = n * n
        history.sample(n * INTERVAL)
    found = history.rates("one", counters, 99 * INTERVAL + 1).ingress_history
    assert len(found) == SLOTS - 1
    assert found[-1] == pytest.approx((99**2 - 98**2) / INTERVAL)


def test_who_came_later_has_a_shorter_history_of_the_right_times():
    early, late = FlowCounters(), FlowCounters()
    present = {"early": early}
    history = History(lambda: present)
    for at in (0.0, 2.0, 4.0):
        history.sample(at)
    present["late"] = late
    history.sample(6.0)
    late.egress_bytes = 800
    history.sample(14.0)  # the loop was busy
    assert history.rates("late", late, 16.0).egress_history == [100.0]
    assert len(history.rates("early", early, 16.0).egress_history) == 4


def test_who_has_gone_is_forgotten():
    counters = FlowCounters()
    present = {"one": counters}
    history = History(lambda: present)
    history.sample(0.0)
    present.clear()
    history.sample(2.0)
    assert not history._rings
    assert history.rates("one", counters, 3.0) == (0.0, 0.0, [], [])
