"""Liveness: PING each 10 s, dead after 30 s of silence, RTT smoothed."""

import pytest

from vpnrs_core.session.handshake import Dead
from vpnrs_core.session.liveness import Liveness
from vpnrs_core.wire.messages import Ping


def test_pings_come_every_ten_seconds_and_silence_ends_it() -> None:
    liveness = Liveness(100.0)
    seen = {}
    for _ in range(4):
        now = liveness.next_deadline()
        seen[now] = list(liveness.tick(now))
    assert seen == {100.0: [Ping(id=0)], 110.0: [Ping(id=1)], 120.0: [Ping(id=2)], 130.0: [Dead()]}


def test_anything_heard_keeps_it_alive() -> None:
    liveness = Liveness(0.0)
    for now in range(0, 600, 10):
        assert [type(due) for due in liveness.tick(float(now))] == [Ping]
        liveness.heard = now + 1.0


def test_rtt_is_smoothed_and_unasked_pongs_are_ignored() -> None:
    liveness = Liveness(0.0)
    liveness.pong(0, 5.0)
    assert liveness.rtt is None
    liveness.tick(0.0)
    liveness.pong(0, 0.1)
    liveness.pong(0, 9.0)
    assert liveness.rtt == 0.1
    liveness.heard = 10.0
    liveness.tick(10.0)
    liveness.pong(1, 10.9)
    assert liveness.rtt == pytest.approx(0.2)


def test_unanswered_pings_are_not_remembered_for_ever() -> None:
    liveness = Liveness(0.0)
    for n in range(100):
        liveness.heard = n * 10.0
        liveness.tick(n * 10.0)
    assert len(liveness._sent) <= 8


def test_variation_is_the_mean_deviation_of_rfc_6298() -> None:
    liveness = Liveness(0.0)
    liveness.tick(0.0)
    assert liveness.pong(0, 0.1) == 0.1
    assert liveness.rtt_variation == 0.05
    liveness.heard = 10.0
    liveness.tick(10.0)
    assert liveness.pong(1, 10.3) == pytest.approx(0.3)
    assert liveness.rtt_variation == pytest.approx(0.75 * 0.05 + 0.25 * 0.2)
    assert liveness.pong(7, 11.0) is None
