"""When the TUN is not read: between two fill levels, never for long, and not again for what will not drain."""

from __future__ import annotations

from vpnrs_core.engine.brake import GO, LONGEST, STOP, Brake

LIMIT = 1_000_000
FULL, ROOM = int(LIMIT * STOP) + 1, int(LIMIT * GO)


def test_it_pauses_above_one_level_and_goes_on_below_the_other():
    brake = Brake()
    assert not brake.pulls(FULL - 1, LIMIT, 0.0)
    assert brake.pulls(FULL, LIMIT, 0.0)
    assert not brake.releases(ROOM + 1, LIMIT, 0.01)
    assert brake.releases(ROOM, LIMIT, 0.02)
    assert brake.pulls(FULL, LIMIT, 0.03), "and again, as often as the queue drains"


def test_a_pause_ends_by_its_time():
    brake = Brake()
    brake.pulls(FULL, LIMIT, 5.0)
    assert brake.until == 5.0 + LONGEST
    assert brake.releases(FULL, LIMIT, brake.until)
    assert brake.until is None


def test_what_does_not_drain_is_read_and_dropped_from_then_on():
    brake = Brake()
    brake.pulls(FULL, LIMIT, 0.0)
    brake.releases(FULL, LIMIT, LONGEST)
    assert not brake.pulls(FULL, LIMIT, LONGEST + 0.01)
    assert not brake.pulls(ROOM, LIMIT, LONGEST + 0.02)
    assert brake.pulls(FULL, LIMIT, LONGEST + 0.03), "it has been nearly empty since"


def test_a_pause_is_not_begun_twice_nor_ended_twice():
    brake = Brake()
    assert brake.pulls(FULL, LIMIT, 0.0)
    assert not brake.pulls(FULL, LIMIT, 0.01)
    assert brake.releases(0, LIMIT, 0.02)
    assert not brake.releases(0, LIMIT, 0.03)
