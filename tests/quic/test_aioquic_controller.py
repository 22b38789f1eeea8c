"""What aioquic's controllers make of loss and of jitter, with and without a queue on the path: the real controllers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from aioquic.quic.recovery import create_congestion_control  # with both controllers registered

from vpnrs_core.quic.aioquic_controller import react_to_queues
from vpnrs_core.quic.standing import StandingQueue

SIZE = 1400


class Path:
    """A recovery as far as it is looked at, with a controller that has packets in flight."""

    def __init__(self, name):
        self.controller = create_congestion_control(name, max_datagram_size=SIZE)
        self.recovery = SimpleNamespace(_cc=self.controller, _rtt_smoothed=0.020, _rtt_min=0.020)
        self.lost = []
        react_to_queues(self.recovery, StandingQueue(), self.lost.append)
        self.packets = [SimpleNamespace(sent_bytes=SIZE, sent_time=1.0 + n / 1000) for n in range(8)]
        for packet in self.packets:
            self.controller.on_packet_sent(packet=packet)

    def lose(self, count):
        self.controller.on_packets_lost(now=2.0, packets=iter(self.packets[:count]))


@pytest.fixture(params=["cubic", "reno"])
def way(request):
    return Path(request.param)


def test_a_loss_without_a_queue_leaves_the_window_open(way):
    window = way.controller.congestion_window
    way.lose(3)
    assert way.controller.congestion_window == window
    assert way.controller.ssthresh is None
    assert way.controller.bytes_in_flight == 5 * SIZE
    assert way.lost == [3]


def test_a_loss_while_a_queue_stands_closes_the_window(way):
    window = way.controller.congestion_window
    way.recovery._rtt_smoothed = 0.051
    way.lose(3)
    assert way.controller.congestion_window < window
    assert way.controller.bytes_in_flight == 5 * SIZE
    assert way.lost == [3]


@pytest.mark.parametrize(("smoothed", "ended"), [(0.030, False), (0.060, True)])
def test_only_a_standing_queue_ends_slow_start(way, smoothed, ended):
    way.recovery._rtt_smoothed = smoothed
    for step in range(100):  # a round trip that grows by a millisecond each
        way.controller.on_rtt_measurement(now=step / 100, rtt=0.020 + step / 1000)
    assert (way.controller.ssthresh is not None) is ended


def test_persistent_congestion_still_closes_it(way):
    way.controller.on_persistent_congestion()
    assert way.controller.congestion_window == 2 * SIZE
