"""The controller of datagrams on simulated paths."""

import heapq
import random

import pytest

from vpnrs_core.quic.controller import INITIAL_PACKETS, LEAST_PACKETS, SLACK, Controller

PACKET = 1400
MBIT = 125_000
TICK = 0.001


class Sender:
    """Always has something to send, unless `wants` bytes a second say otherwise."""

    def __init__(self, wants=None):
        self.controller = Controller(PACKET)
        self.in_flight = self.delivered = self.lost = 0
        self.wants, self.waiting = wants, 0.0


class Path:
    """`rate` bytes a second through a queue of `queue` bytes, `delay` seconds each way, `loss` at random."""

    def __init__(self, *senders, rate=40 * MBIT, queue=10**9, delay=0.010, loss=0.0, seed=1):
        self.senders, self.rate, self.queue, self.delay, self.loss = senders, rate, queue, delay, loss
        self.random = random.Random(seed)
        self.now, self.free_at = 1.0, 0.0
        self.events, self.number = [], 0
        self.standing = []  # seconds of queue that packets found
        self.dark = False

    def _send(self, sender):
        """As a pump does: until there is no more room or nothing to send."""
        while sender.wants is None or sender.waiting >= PACKET:
            room = sender.controller.allowance(sender.in_flight, 0, self.now)
            if not room:
                break
            self._packets(sender, int(room if sender.wants is None else min(room, sender.waiting)) // PACKET)

    def _packets(self, sender, count):
        for _ in range(count):
            sender.in_flight += PACKET
            sender.waiting -= PACKET
            sender.controller.sent(PACKET, self.now)
            waits = max(0.0, self.free_at - self.now)
            lost = self.dark or self.random.random() < self.loss or waits * self.rate + PACKET > self.queue
            if not lost:
                self.standing.append(waits)
                self.free_at = max(self.free_at, self.now) + PACKET / self.rate
            answer = (self.now if lost else self.free_at) + 2 * self.delay
            self.number += 1
            heapq.heappush(self.events, (answer, self.number, sender, self.now, lost))

    def run(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            while self.events and self.events[0][0] <= self.now and not self.dark:
                at, _, sender, sent_at, lost = heapq.heappop(self.events)
                sender.in_flight -= PACKET
                sender.lost += lost
                sender.delivered += not lost
                got = (0, PACKET, sender.in_flight, None) if lost else (PACKET, 0, sender.in_flight, at - sent_at)
                sender.controller.gone(*got, self.now)
            for sender in self.random.sample(self.senders, len(self.senders)):
                if sender.wants is not None:
                    sender.waiting += sender.wants * TICK
                self._send(sender)
        return self

    def share(self, sender, seconds):
        """Of the path's rate, that it gets in the next seconds."""
        before = sender.delivered
        self.run(seconds)
        return (sender.delivered - before) * PACKET / seconds / self.rate


@pytest.mark.parametrize("loss", [0.0, 0.001, 0.01, 0.03])
@pytest.mark.parametrize("delay", [0.001, 0.010, 0.050])
def test_random_loss_does_not_close_the_window(loss, delay):
    path = Path(Sender(), loss=loss, delay=delay)
    (sender,) = path.senders
    path.run(3)
    assert sender.controller.window >= path.rate * 2 * delay
    assert path.share(sender, 2) > 0.9 * (1 - loss)


@pytest.mark.parametrize("mbit", [5, 40, 200])
@pytest.mark.parametrize("delay", [0.002, 0.010, 0.050])
def test_what_stands_in_a_long_queue_is_bounded(mbit, delay):
    path = Path(Sender(), rate=mbit * MBIT, delay=delay)
    path.run(4)
    path.standing.clear()
    assert path.share(path.senders[0], 3) > 0.9
    assert max(path.standing) < 2 * delay + SLACK + 0.012 + 2 * PACKET / path.rate


@pytest.mark.parametrize("milliseconds", [2, 5, 20])
def test_a_short_queue_is_not_overrun(milliseconds):
    """A super-packet alone would be more than it holds."""
    path = Path(Sender(), queue=int(40 * MBIT * milliseconds / 1000))
    (sender,) = path.senders
    path.run(3)
    sent, lost = sender.delivered + sender.lost, sender.lost
    assert path.share(sender, 4) > 0.9
    assert (sender.lost - lost) / (sender.delivered + sender.lost - sent) < 0.03


@pytest.mark.parametrize("queue", [30_000, 10**9])
def test_two_share(queue):
    path = Path(Sender(), Sender(), queue=queue)
    path.run(6)
    first, second = path.senders
    before = second.delivered
    shares = path.share(first, 6), 0.0
    shares = shares[0], (second.delivered - before) * PACKET / 6 / path.rate
    assert sum(shares) > 0.85
    assert min(shares) > 0.15


def test_a_second_one_that_comes_later_gets_its_part():
    path = Path(Sender(), Sender(wants=0), queue=30_000)
    second = path.senders[1]
    path.run(4)
    second.wants = None
    path.run(4)
    assert path.share(second, 8) > 0.15


def test_it_follows_a_path_that_changes():
    path = Path(Sender())
    (sender,) = path.senders
    path.run(3)
    path.rate = 10 * MBIT
    path.run(3)
    path.standing.clear()
    assert path.share(sender, 2) > 0.85
    assert sum(path.standing) / len(path.standing) < 0.080
    path.rate = 80 * MBIT
    path.run(3)
    assert path.share(sender, 2) > 0.85


def test_a_sender_with_little_to_send_is_not_held_to_it():
    """What it sent says what it had, not what the path carries."""
    path = Path(Sender(wants=2 * MBIT))
    (sender,) = path.senders
    path.run(10)
    sender.wants = None
    assert path.share(sender, 1) > 0.6
    assert path.share(sender, 1) > 0.9


def test_nothing_leaves_beyond_the_window_without_acknowledgements():
    path = Path(Sender())
    (sender,) = path.senders
    path.run(2)
    path.dark = True
    path.run(5)
    assert sender.in_flight <= sender.controller.window
    assert sender.controller.allowance(sender.in_flight, 0, path.now) == 0


def test_persistent_congestion_begins_anew_with_two_packets():
    path = Path(Sender())
    (sender,) = path.senders
    path.run(2)
    assert sender.controller.window > INITIAL_PACKETS * PACKET
    sender.controller.gone(0, PACKET, sender.in_flight - PACKET, None, path.now + 5)
    assert sender.controller.window == LEAST_PACKETS * PACKET
    path.events.clear()
    sender.in_flight = 0
    assert path.run(3).share(sender, 1) > 0.9  # and it comes back


def test_an_idle_time_is_no_congestion():
    path = Path(Sender(wants=2 * MBIT))
    (sender,) = path.senders
    path.run(2)
    sender.wants, sender.waiting = 0, 0.0
    path.run(10)
    window = sender.controller.window
    sender.wants, path.loss = 2 * MBIT, 0.05
    path.run(1)
    assert sender.controller.window >= window


def test_a_path_that_has_become_longer_is_measured_again():
    path = Path(Sender())
    (sender,) = path.senders
    path.run(2)
    path.delay = 0.040
    path.run(32)
    assert 0.075 < sender.controller.shortest < 0.110
    assert path.share(sender, 2) > 0.9
