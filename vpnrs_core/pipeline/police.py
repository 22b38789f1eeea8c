"""The ingress police: what a client sends beyond its grant's rate is dropped by segment, not by super-packet."""

from __future__ import annotations

from vpnrs_core.counters import DropCounts
from vpnrs_core.interfaces.grant import Rate
from vpnrs_core.packet.packet import Packet
from vpnrs_core.pipeline.rate import TokenBucket


class Police:
    """One session's. A whole super-packet dropped at 1 Mbit/s would be 45 segments at once, so its first segments
    pass as far as the tokens go."""

    def __init__(self, rate: Rate, drops: DropCounts) -> None:
        self.bucket = TokenBucket(rate)
        self._drops = drops

    def admit(self, packet: Packet, now: float) -> Packet | None:
        """What of the packet may go on: all, its first segments, or None. The rest is counted."""
        bucket = self.bucket
        tokens = bucket.refill(now)
        size = packet.ip_bytes
        if size <= tokens:
            bucket.spend(size)
            return packet
        segments = packet.segments
        fit = min(int(tokens // packet.largest_segment), segments - 1)
        if fit < 1:
            # A burst smaller than one segment would let nothing through, ever: a full bucket lets one go in debt.
            if tokens < bucket.burst:
                self._drops.count("rate_limit", segments, size)
                return None
            fit = 1
        passed = packet.slice(0, fit)
        bucket.spend(passed.ip_bytes)
        if fit < segments:
            self._drops.count("rate_limit", segments - fit, size - passed.ip_bytes)
        return passed
