"""The standing-queue detector."""

from vpnrs_core.quic.standing import FLOOR, PROBE_EVERY, StandingQueue


def test_the_floor_is_always_allowed():
    assert not StandingQueue().blocks(FLOOR, 9.0, 9.0, 0.001, now=0.0)


def test_a_round_trip_of_more_than_twice_the_shortest_blocks():
    queue = StandingQueue()
    assert not queue.blocks(2 * FLOOR, 0.030, 0.049, 0.020, now=0.0)
    assert queue.blocks(2 * FLOOR, 0.060, 0.051, 0.020, now=0.1)


def test_a_path_that_became_longer_is_measured_again():
    queue = StandingQueue()
    queue.blocks(2 * FLOOR, 0.005, 0.005, 0.005, now=0.0)
    assert queue.blocks(2 * FLOOR, 0.2, 0.2, 0.005, now=1.0)
    assert queue.blocks(2 * FLOOR, 0.2, 0.2, 0.005, now=PROBE_EVERY)  # draining, to look
    assert queue.blocks(2 * FLOOR, 0.1, 0.2, 0.005, now=PROBE_EVERY + 0.3)
    assert not queue.blocks(2 * FLOOR, 0.2, 0.2, 0.005, now=PROBE_EVERY + 0.5)


def test_a_queue_is_seen_with_little_in_flight():
    queue = StandingQueue()
    assert queue.stands(0.051, 0.020)
    assert not queue.stands(0.049, 0.020)
