"""Whether the peer is there: a PING every 10 s, dead after 30 s of silence, the RTT from what comes back."""

from __future__ import annotations

from collections.abc import Sequence

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.session.handshake import Dead
from vpnrs_core.wire.messages import Ping

INTERVAL = 10.0
SILENCE = 30.0
REMEMBERED = 8


class Liveness:
    """One side's. Anything received is a sign of life: set `heard` to its time in monotonic seconds."""

    def __init__(self, now: Seconds) -> None:
        self.heard = now
        self.rtt: Seconds | None = None
        self.rtt_variation: Seconds | None = None
        self._next_ping = now
        self._next_id = 0
        self._sent: dict[int, Seconds] = {}

    def tick(self, now: Seconds) -> Sequence[Ping | Dead]:
        """What is due: a PING to send, or the news that the peer is dead."""
        if now - self.heard >= SILENCE:
            return (Dead(),)
        if now < self._next_ping:
            return ()
        ping = Ping(id=self._next_id)
        self._next_id += 1
        self._next_ping = now + INTERVAL
        self._sent[ping.id] = now
        if len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return (ping,)

    def hurry(self, now: Seconds) -> None:
        """A PING is due now."""
        self._next_ping = min(self._next_ping, now)

    def pong(self, id: int, now: Seconds) -> Seconds | None:
        """→ this round trip; RTT and variation are smoothed as in RFC 6298 section 2. A PONG that nothing asked for
        is ignored: None."""
        sent = self._sent.pop(id, None)
        if sent is None:
            return None
        sample = now - sent
        if self.rtt is None or self.rtt_variation is None:
            self.rtt, self.rtt_variation = sample, sample / 2
        else:
            self.rtt_variation = 0.75 * self.rtt_variation + 0.25 * abs(self.rtt - sample)
            self.rtt = 0.875 * self.rtt + 0.125 * sample
        return sample

    def next_deadline(self) -> Seconds:
        return min(self._next_ping, self.heard + SILENCE)
