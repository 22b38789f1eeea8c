"""The congestion controller of a tunnel's datagrams, for every engine: it follows what the path delivers. Pure.

What is carried here mostly has a controller of its own, inside, which answers each loss. Were it answered outside as
well, TCP through the tunnel would crawl where the same TCP beside it runs; were nothing answered, a tunnel could fill
any link with what is lost at its end (RFC 9221 section 5 forbids it). So the window is what the path has been seen to
deliver in two of its shortest round trips and a little more, a loss on its own does not close it, and from the first
loss on packets leave at the pace of what arrives, for a queue on the way may be shorter than one super-packet.

It closes where RFC 9002 wants it closed: nothing leaves beyond the window without acknowledgements, after persistent
congestion it begins anew with two packets, and where much is lost only the newest measurement counts."""

from __future__ import annotations

import math
from collections import deque

from vpnrs_core.interfaces.common import Seconds

INITIAL_PACKETS, LEAST_PACKETS = 10, 2  # RFC 9002 section 7.2
SMALL_PACKETS = 4  # with fewer in flight nothing could be measured
MOST = 48 << 20  # bytes
# How long a rate is measured: acknowledgements come in batches, and over less they would tell of those.
INTERVAL, INTERVAL_TRIPS = 0.025, 2
REMEMBERED = 8  # measurements that the best is taken of
# The window is the rate times so many shortest round trips and this: room for what both ends do in batches, and the
# most that stands in a queue because of us.
TRIPS, SLACK = 2, 0.020
# The window doubles with each round trip until this many measurements have not grown by so much.
FLAT, GROWTH = 3, 1.25
# With more lost, and not just a few packets, that ends at once, and what was measured before is forgotten.
MUCH_LOSS, FEW = 0.1, 20
# After a loss packets are paced for so long, with so much credit at once.
PACED_FOR, CREDIT = 10.0, 0.003
# One measurement of eight tries more, the next one less; where more arrived indeed, by so much, still more is tried.
MORE, LESS, CYCLE, ARRIVED = 1.1, 0.9, 8, 1.03
MOST_PACE = 2.0
# And so many packets a round trip more, by which who has little gains on who has much.
STEP_PACKETS = 8
# Lost beyond twice what the path always loses: less is tried at once.
CROWDED = 0.01
QUEUED = 1.25  # times the shortest round trip, and half of SLACK: longer ones tell of a queue
# The shortest round trip is measured again with little in flight, in case the path has become longer: now and then, and
# when in so many measurements none was as short as the window stands for.
SHORTEST_AFTER, SHORTEST_FOR, TOO_LONG = 30.0, 0.2, 8
# Without an acknowledgement for so many probe timeouts, and then with a loss: RFC 9002 section 7.6.
PERSISTENT, ACK_DELAY = 3, 0.025


class Controller:
    """Told what is put into flight and what comes out of it; says what may leave. Sizes in bytes of UDP payload.

    `window` may be shown; `allowance` is what counts. `blocked` measurements are those in which more would have been
    sent: only they say what the path carries, the others only what was there to carry."""

    def __init__(self, packet: int) -> None:
        """`packet`: the size of a full one."""
        self.packet = packet
        self.window = INITIAL_PACKETS * packet
        self.shortest: Seconds = math.inf
        self.opening = True
        self._rates: deque[float] = deque(maxlen=REMEMBERED)
        self._losses: deque[float] = deque(maxlen=REMEMBERED)
        self._began = self._ends = 0.0
        self._delivered = self._lost = 0
        self._before = (0, 0.0)  # what the measurement before this one found, and in how long
        self._blocked = False
        self._flat = self._cycle = 0
        self._gain = MOST_PACE
        self._since: Seconds | None = None  # acknowledged last, or sent into an empty path
        self._paced_until = 0.0
        self._credit, self._credit_at = 0.0, 0.0
        self._shortest_at = 0.0
        self._low_until: Seconds | None = None
        self._seen: Seconds = math.inf
        self._trip: Seconds = math.inf  # the shortest of this measurement
        self._longer = 0

    @property
    def rate(self) -> float:
        """Bytes a second that the path delivers, 0: not known."""
        return max(self._rates, default=0.0)

    def sent(self, size: int, now: Seconds) -> None:
        """So many bytes are in flight that were not."""
        self._credit -= size
        if self._since is None:
            self._since = now
            if now >= self._ends:  # an idle time is no part of a measurement
                self._before = (0, 0.0)
                self._begin(now)

    def gone(self, delivered: int, lost: int, in_flight: int, rtt: Seconds | None, now: Seconds) -> None:
        """So many bytes were acknowledged and lost, `in_flight` are left. `rtt` is the latest round trip."""
        if lost and self._since is not None and self._is_persistent(now - self._since, rtt):
            self._collapse(now)
        if delivered:
            self._since = now if in_flight else None
        self._delivered += delivered
        self._lost += lost
        if rtt is not None and rtt > 0:
            self._measured(rtt, now)
        if self.opening and delivered and 2 * (in_flight + delivered) >= self.window:
            self.window = min(MOST, self.window + delivered)
        if now >= self._ends:
            self._end(now)

    def allowance(self, in_flight: int, waiting: int, now: Seconds) -> int:
        """Bytes that may leave now, beyond those `waiting` to. Asked when there is something to send: 0, which stands
        for less than a packet, blocks it."""
        left = self.window - in_flight
        if self.paced(now):
            pace = self._pace()
            credit = self._credit + (now - self._credit_at) * pace
            self._credit, self._credit_at = min(credit, self._most_credit(pace)), now
            left = min(left, int(self._credit))
        left -= waiting
        if left < self.packet:
            self._blocked = True
            return 0
        return left

    def paced(self, now: Seconds) -> bool:
        return now < self._paced_until and bool(self._rates)

    def next_time(self, in_flight: int, now: Seconds) -> Seconds | None:
        """When pacing lets more leave. None: it is not what holds packets back."""
        if not self.paced(now) or self.window - in_flight < self.packet:
            return None
        pace = self._pace()
        missing = max(self.packet, self._most_credit(pace) / 2) - self._credit
        return max(now, self._credit_at + missing / pace)

    # Measuring

    def _begin(self, now: Seconds) -> None:
        trip = self.shortest if self.shortest < math.inf else 0.0
        self._began, self._ends = now, now + max(INTERVAL, INTERVAL_TRIPS * trip)
        self._delivered = self._lost = 0
        self._blocked = False
        self._trip = math.inf

    def _end(self, now: Seconds) -> None:
        """A measurement is over."""
        if now <= self._began or not self._delivered + self._lost:
            self._begin(now)
            return
        # Of two: what one of them was late to count the other has.
        took = now - self._began
        rate = (self._delivered + self._before[0]) / (took + self._before[1])
        self._before = (self._delivered, took)
        loss = self._lost / (self._delivered + self._lost)
        if self._lost:
            if not self.paced(now):
                self._credit, self._credit_at = 0.0, now
            self._paced_until = now + PACED_FOR
        if self._blocked:
            self._judge(rate, loss, now)
        elif rate > self.rate:
            self._rates.append(rate)
        if self._trip < math.inf:
            self._longer = self._longer + 1 if self._trip > TRIPS * self.shortest + SLACK else 0
        self._begin(now)
        if not self.opening:
            self._size(now)

    def _judge(self, rate: float, loss: float, now: Seconds) -> None:
        best = self.rate
        much = loss > MUCH_LOSS and self._lost > FEW * self.packet
        if much:
            self._rates.clear()
        self._losses.append(loss)
        crowded = loss > 2 * min(self._losses) + CROWDED
        # Where neither losses nor the round trip tell of a queue, less arrived because less was sent: a timer was late.
        queued = crowded or much or self._trip > QUEUED * self.shortest + SLACK / 2
        self._rates.append(rate if queued or self.opening else max(rate, best))
        if self.opening:
            self._flat = 0 if rate > GROWTH * best else self._flat + 1
            self.opening = self._flat < FLAT and not much
            self._gain = MOST_PACE if self.opening else LESS
            return
        if rate > ARRIVED * best and not much:
            self._gain, self._cycle = min(MOST_PACE, 2 * max(self._gain, MORE) - 1), 0
        else:
            self._cycle = (self._cycle + 1) % CYCLE
            self._gain = MORE if not self._cycle else LESS if crowded or self._cycle == 1 else 1.0
        if self._low_until is None and (now >= self._shortest_at + SHORTEST_AFTER or self._longer >= TOO_LONG):
            trip = self._trip if self._trip < math.inf else self.shortest
            self._low_until, self._seen, self._longer = now + max(SHORTEST_FOR, 2 * trip), math.inf, 0

    def _measured(self, rtt: Seconds, now: Seconds) -> None:
        if rtt <= self.shortest:
            self.shortest, self._shortest_at = rtt, now
        self._trip = min(self._trip, rtt)
        if self._low_until is not None:
            # Not what stood in a queue when it began.
            if now >= self._low_until - SHORTEST_FOR / 2:
                self._seen = min(self._seen, rtt)
            if now >= self._low_until and self._seen < math.inf:
                self.shortest, self._shortest_at, self._low_until = self._seen, now, None
        if self.opening and rtt > TRIPS * self.shortest + SLACK and self._rates:
            self.opening = False

    def _size(self, now: Seconds) -> None:
        """The window of what is known."""
        if self.shortest == math.inf or not self._rates:
            return
        trips = TRIPS * self.shortest + SLACK if self._low_until is None else self.shortest / 2
        wanted = int(self.rate * trips)
        self.window = min(MOST, max(SMALL_PACKETS * self.packet, wanted))

    # Pacing, and the end of patience

    def _pace(self) -> float:
        trip = max(min(self.shortest, 1.0), 0.001)
        more = STEP_PACKETS * self.packet / trip if self._gain > 1 and not self.opening else 0.0
        return max(self.rate * self._gain + more, (self.window if self.opening else LEAST_PACKETS * self.packet) / trip)

    def _most_credit(self, pace: float) -> float:
        return max(INITIAL_PACKETS * self.packet, pace * CREDIT)

    def _is_persistent(self, silence: Seconds, rtt: Seconds | None) -> bool:
        trip = rtt or (self.shortest if self.shortest < math.inf else 0.333)
        return silence > PERSISTENT * (2 * trip + ACK_DELAY)

    def _collapse(self, now: Seconds) -> None:
        self.window = LEAST_PACKETS * self.packet
        self.opening, self._flat = True, 0
        self._rates.clear()
        self._low_until = None
        self._begin(now)
