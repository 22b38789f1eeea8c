"""The path model alone: what it loses, delays and counts."""

import random

import pytest

from vpnrs_core.testkit.impairment import Direction, Impairment


def direction(**impairment):
    return Direction(Impairment(**impairment), random.Random(7).random)


def test_a_good_path_passes_everything_at_once():
    path = direction()
    assert [path.offer(1200, 5.0) for _ in range(3)] == [[5.0]] * 3
    assert path.counts == {"received": 3, "received_bytes": 3600, "sent": 3, "sent_bytes": 3600}


def test_delay_is_added_to_each_datagram():
    assert direction(delay=0.25).offer(100, 1.0) == [1.25]


@pytest.mark.parametrize("loss", [0.01, 0.1, 0.5])
def test_loss_is_within_tolerance_and_counted(loss):
    path = direction(loss=loss)
    passed = sum(bool(path.offer(100, 0.0)) for _ in range(20_000))
    assert 1 - passed / 20_000 == pytest.approx(loss, rel=0.15)
    assert path.counts["lost_random"] == 20_000 - passed


def test_rate_spaces_datagrams_by_their_length():
    path = direction(rate=1_000_000)
    assert [path.offer(1250, 0.0)[0] for _ in range(3)] == pytest.approx([0.01, 0.02, 0.03])
    assert path.offer(1250, 1.0) == pytest.approx([1.01])


def test_a_full_queue_drops_what_comes_and_empties_at_the_rate():
    path = direction(rate=1_000_000, queue=2500)
    assert [len(path.offer(1250, 0.0)) for _ in range(3)] == [1, 1, 0]
    assert path.counts["lost_queue"] == 1
    assert path.offer(1250, 0.011) == pytest.approx([0.03])


def test_reordered_datagrams_leave_later_than_their_neighbours():
    path = direction(reorder=0.5, reorder_by=0.02)
    assert {path.offer(100, 1.0)[0] for _ in range(100)} == {1.0, 1.02}
    assert 30 < path.counts["reordered"] < 70


def test_duplicates_leave_twice():
    path = direction(duplicate=1.0)
    assert path.offer(100, 1.0) == [1.0, 1.0]
    assert path.counts["sent"] == 2


def test_nothing_passes_in_a_blackout_and_everything_after():
    path = direction()
    path.blackout = True
    assert path.offer(100, 1.0) == []
    path.blackout = False
    assert path.offer(100, 2.0) == [2.0]
    assert path.counts["lost_blackout"] == 1


def test_the_same_seed_gives_the_same_fate():
    first, second = (direction(loss=0.3, duplicate=0.2, reorder=0.1) for _ in range(2))
    assert [first.offer(100, 0.0) for _ in range(200)] == [second.offer(100, 0.0) for _ in range(200)]
