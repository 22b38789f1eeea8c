"""What unauthenticated peers may cost: how many connections, from where, and how much of the loop's time. Pure."""

from __future__ import annotations

from collections import Counter
from enum import Enum

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.quic.packets import packed

# CPU that may be spent at once after a quiet time, in seconds of the budget's own rate.
_BURST = 2.0
# The part of the bucket that is kept for those who have proven their address.
_KEPT = 0.25
_MAPPED = bytes(10) + b"\xff\xff"


class CpuBudget:
    """A token bucket of seconds: `share` of the elapsed time flows in, work takes out what it took."""

    def __init__(self, share: float, now: Seconds) -> None:
        self._share = share
        self._most = share * _BURST
        self._tokens = self._most
        self._at = now

    def spend(self, seconds: Seconds) -> None:
        """Work is charged after it was done, so the bucket may go below zero."""
        self._tokens -= seconds

    def left(self, now: Seconds, *, new: bool = True) -> bool:
        """Whether work may begin. Connections that have begun may overdraw by half a bucket: finishing them is worth
        more than starting others."""
        self._tokens = min(self._most, self._tokens + max(0.0, now - self._at) * self._share)
        self._at = now
        return self._tokens > (0.0 if new else -self._most / 2)

    @property
    def plenty(self) -> bool:
        """Whether there is more than what is kept for new connections whose address is proven: without it, first
        packets from forged sources would keep them out. As of the last `left`."""
        return self._tokens > _KEPT * self._most


class Verdict(Enum):
    """What becomes of the first packet of an unknown connection."""

    ACCEPT = "accept"
    RETRY = "retry"
    DROP = "drop"


def source_prefix(host: str) -> bytes:
    """What counts as one source: an IPv4 address, IPv4-mapped ones included, or the /64 of an IPv6 address."""
    address = packed(host)
    if len(address) == 4:
        return address
    return address[12:] if address.startswith(_MAPPED) else address[:8]


class Admission:
    """Counts unauthenticated connections, in total and per source prefix, and judges new ones."""

    def __init__(self, *, most: int, most_per_source: int, retry_threshold: int) -> None:
        self._most = most
        self._most_per_source = most_per_source
        self._retry_threshold = retry_threshold
        self._sources: Counter[bytes] = Counter()
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    def judge(self, source: bytes, *, address_proven: bool) -> Verdict:
        """A source that holds half of its share must prove its address too: somebody else may have spoofed it there,
        and a proof lets the true owner in."""
        held = self._sources.get(source, 0)
        if self._total >= self._most or held >= self._most_per_source:
            return Verdict.DROP
        if not address_proven and (self._total >= self._retry_threshold or 2 * held >= self._most_per_source):
            return Verdict.RETRY
        return Verdict.ACCEPT

    def opened(self, source: bytes) -> None:
        self._sources[source] += 1
        self._total += 1

    def closed(self, source: bytes) -> None:
        """The connection authenticated or ended: exactly once for each `opened`."""
        self._total -= 1
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
