"""What keeps datagrams from harming their own connection, since qh3 gates them by neither window nor pacing. Pure."""

from __future__ import annotations

from collections import deque

from vpnrs_core.interfaces.common import Seconds

# qh3 writes packet numbers in two bytes: a peer that has missed 32768 packets in a row could read none that follow
# (RFC 9000 appendix A.3).
MOST_UNCERTAIN = 30_000
# A connection that is always beyond its window makes a pause this often, in seconds and in round trips.
PATIENCE, PATIENCE_TRIPS = 0.5, 8
# The same after stream bytes have left, which may have been lost.
STREAM_PATIENCE, STREAM_PATIENCE_TRIPS = 0.02, 2
# Seconds: a timer further away than this waits for no acknowledgement, and no pause is longer.
LONGEST_REST = 1.0


class Uncertain:
    """Bounds how many packets may be on their way since the last one that the peer is known to have."""

    def __init__(self) -> None:
        self._bytes = self._packets = 0
        self._marks: deque[tuple[int, int]] = deque([(0, 0)])

    def sent(self, packets: int, size: int) -> None:
        self._bytes += size
        self._packets += packets
        self._marks.append((self._bytes, self._packets))

    def count(self, in_flight: int) -> int:
        """At most so many packets are uncertain when `in_flight` bytes are: the newest ones of that size."""
        marks, begin = self._marks, self._bytes - in_flight
        while len(marks) > 1 and marks[1][0] <= begin:
            marks.popleft()
        return self._packets - marks[0][1]


class Breath:
    """Says when datagrams must wait until the bytes in flight have fallen below the congestion window.

    Stream bytes obey the window, those that were lost and must be sent again included, of which nobody is told. While
    datagrams hold the flight above it, they would never leave."""

    def __init__(self) -> None:
        self._at = self._stream_at = 0.0

    def stream_left(self, now: Seconds) -> None:
        self._stream_at = now

    def taken(self, now: Seconds) -> None:
        """Packets were built, the window was not full afterwards: whatever waited for it has left."""
        self._at = now

    def due(self, rtt: Seconds, now: Seconds) -> bool:
        waited = now - self._at
        if waited > PATIENCE and waited > PATIENCE_TRIPS * rtt:
            return True
        # What left before could not yet be known as lost at that time.
        doubt = self._stream_at + STREAM_PATIENCE + STREAM_PATIENCE_TRIPS * rtt
        return self._at < doubt <= now


class Rest:
    """The same for who sees neither window nor flight, as by qh3's public calls: from time to time datagrams wait until
    nothing is on its way, which its timers tell."""

    def __init__(self) -> None:
        self._begin = 0.0  # when datagrams began to leave, or, in a rest, to wait
        self._resting = False

    def due(self, timer: Seconds | None, now: Seconds) -> bool:
        """`timer`: when the connection wants to be looked at next."""
        over = timer is None or timer - now > LONGEST_REST
        if over or now - self._begin > (LONGEST_REST if self._resting else PATIENCE):
            self._begin = now
            self._resting = not (over or self._resting)
        return self._resting
