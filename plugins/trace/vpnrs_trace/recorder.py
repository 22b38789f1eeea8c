"""What a trace has seen and nobody has fetched yet: bounded in bytes and in time, pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from vpnrs_core.interfaces import Direction, Packet

# A trace that nobody fetches from ends: whoever asked for it is gone.
ABANDONED = 15.0
_OVERHEAD = 200  # bytes that a record costs besides its packet


@dataclass(frozen=True, slots=True)
class Record:
    """One packet at one point. `at` is POSIX seconds; `data` is the IP packet, cut to the trace's `snap`, empty when
    there was none to show; `length` its whole length; `segments` > 1: a super-packet. `reason`: why it went no
    further, "" when it did."""

    at: float
    point: str
    direction: str
    reason: str
    data: bytes
    length: int
    segments: int


class Recorder:
    """One trace. `points`: prefixes of the points to keep, none: all."""

    def __init__(
        self, session: str, now: float, seconds: float, max_bytes: int, snap: int, points: Collection[str] = ()
    ) -> None:
        self.session = session
        self.until = now + seconds
        self.missed = 0
        self._fetched_at = now
        self._max = max_bytes
        self._bytes = 0
        self._snap = snap
        self._points = tuple(points)
        self._records: deque[Record] = deque()

    def ended(self, now: float) -> bool:
        """Its time is over, or nobody fetches any more."""
        return now >= self.until or now - self._fetched_at >= ABANDONED

    def saw(self, at: float, point: str, direction: Direction, packet: Packet | None, reason: str) -> None:
        """interfaces.Seen, with the time."""
        if self._points and not point.startswith(self._points):
            return
        data = b"" if packet is None else packet.data
        kept = data[: self._snap]
        if self._bytes + len(kept) + _OVERHEAD > self._max:
            self.missed += 1
            return
        segments = 1 if packet is None or reason == "malformed" else packet.segments
        self._bytes += len(kept) + _OVERHEAD
        self._records.append(Record(at, point, direction.value, reason, kept, len(data), segments))

    def fetch(self, now: float, most: int) -> list[Record]:
        """The oldest records of about `most` bytes together; they are not kept any longer."""
        self._fetched_at = now
        taken: list[Record] = []
        size = 0
        while self._records and size < most:
            record = self._records.popleft()
            size += len(record.data) + _OVERHEAD
            taken.append(record)
        self._bytes -= size
        return taken
