"""The fast path's memory: bounded, little for the garbage collector to walk over, and not fought over."""

import gc

import pytest
from nat64_bench import HOST, SOURCE, Bench
from vpnrs_nat64 import prepared
from vpnrs_nat64.state.model import UDP

from vpnrs_core.testkit import packets


def there(bench, port):
    return bench.send(packets.udp("fd00::2", bench.far(), b"x", sport=port))


def back(bench, port):
    return bench.receive(packets.udp(HOST, SOURCE, b"x", sport=53, dport=port))


@pytest.fixture
def few(monkeypatch):
    """Four sessions have a place in each direction."""
    monkeypatch.setattr(prepared.Direction.__init__, "__defaults__", (4,))


def test_a_session_costs_the_collector_two_objects_in_each_direction():
    bench = Bench()
    for port in range(100):
        there(bench, 1000 + port)
    gc.collect()
    before = len(gc.get_objects())
    for port in range(100):
        for _ in range(2):
            there(bench, 1000 + port)
            back(bench, 1000 + port)
    assert (
        len(bench.stage.nat64.fast_to_v4.by_protocol[UDP]) == len(bench.stage.nat64.fast_to_v6.by_protocol[UDP]) == 100
    )
    gc.collect()
    assert len(gc.get_objects()) - before < 2 * 2 * 100 + 50
    # As many as a full collection walks over in a few milliseconds.
    assert prepared.MOST * 2 * 2 * 2 <= 32_768


def test_what_does_not_fit_is_translated_all_the_same(few):
    bench = Bench()
    for _ in range(4):
        for port in range(1000, 1009):
            assert len(there(bench, port)) == len(back(bench, port)) == 1
        bench.now += 0.1
    fast = bench.stage.nat64.fast_to_v4.by_protocol[UDP]
    assert len(fast) == 4
    assert bench.dropped() == {}


def test_busy_sessions_keep_their_places_and_idle_ones_do_not(few):
    bench = Bench()
    fast = bench.stage.nat64.fast_to_v4.by_protocol[UDP]

    def ports():
        return {int.from_bytes(key[32:34], "big") for key in fast}

    for port in range(1000, 1004):
        for _ in range(3):
            there(bench, port)
    for _ in range(9):
        there(bench, 2000)
    assert ports() == {*range(1000, 1004)}
    bench.now += 1.5
    for _ in range(3):
        there(bench, 1000)
        there(bench, 1001)
    for port in (2000, 2001):
        for _ in range(6):
            there(bench, port)
    assert ports() == {1000, 1001, 2000, 2001}
