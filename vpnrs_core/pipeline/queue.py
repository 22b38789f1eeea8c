"""A session's queue: sparse flows first, bulk flows in turn, CoDel against standing queues, bounded in bytes.

It is FQ-CoDel (RFC 8290) over super-packets, so it cuts: a pull takes as many segments of the head as fit, and CoDel
drops one segment where dropping 64 KiB would be a punishment instead of a signal. Its limit follows the rate at which
it drains: 100 ms of it, within FLOOR and CEILING.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vpnrs_core.counters import DropCounts, FlowCounters
from vpnrs_core.interfaces.grant import Rate
from vpnrs_core.packet.packet import Packet
from vpnrs_core.pipeline.flow import Flow, FlowKey, flow_key
from vpnrs_core.pipeline.rate import TokenBucket

TARGET = 0.005  # seconds that a packet may wait in a standing queue
MAX_TARGET = 0.05  # seconds: on slow links the target is a segment's time, but stays below CoDel's interval
LIMIT_SECONDS = 0.1
CEILING = 1_000_000  # bytes
FLOOR = 128 * 1024  # two super-packets: with less, TCP could not keep a slow link busy
QUANTUM = 4096  # bytes of a flow's turn
ONE_SEGMENT = 1500  # bytes: CoDel leaves a flow alone that has no more than this waiting
MAX_AGE = 4.0  # seconds: nobody wants what is older, for instance after a blackout
MAX_FLOWS = 1024  # more flows share
WINDOW = 0.1  # seconds of uninterrupted backlog over which the drain rate is measured
PACING_STEP = 0.001  # seconds: how long a paced queue saves tokens up before it gives, so that timers stay few


class SessionQueue:
    """`bytes` are IP bytes on a wire, of all segments; `packets` counts super-packets."""

    def __init__(
        self,
        drops: DropCounts,
        counters: FlowCounters | None = None,
        rate: Rate | None = None,
        on_paced: Callable[[float], None] | None = None,
    ) -> None:
        """`counters` gets what is pulled; `rate` paces; `on_paced(time)` is told when a pull found too few tokens,
        and when there will be enough."""
        self.bytes = 0
        self.packets = 0
        self.limit = CEILING
        self.counters = FlowCounters() if counters is None else counters
        self._drops = drops
        self._on_paced = on_paced
        self._bucket = None if rate is None else TokenBucket(rate)
        self._flows: dict[FlowKey, Flow] = {}
        self._new: deque[Flow] = deque()
        self._old: deque[Flow] = deque()
        self._target = TARGET
        self._longest: Flow | None = None
        self._longest_bytes = 0
        self._drain = 0.0  # bytes a second, 0: not known
        self._busy_since = 0.0
        self._drained = 0
        self._bound()

    def __bool__(self) -> bool:
        return self.packets > 0

    @property
    def paced(self) -> bool:
        """Whether a rate of the grant holds packets back here."""
        return self._bucket is not None

    def push(self, packet: Packet, now: float) -> None:
        """Append. Beyond the limit the longest flow loses its oldest super-packets, counted as queue_overflow."""
        size = packet.ip_bytes
        key = flow_key(packet)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._add_flow(key)
        if not self.bytes:
            self._busy_since = now
            self._drained = 0
        flow.packets.append((packet, now, size))
        flow.bytes += size
        self.bytes += size
        self.packets += 1
        if flow.bytes > self._longest_bytes:
            self._longest = flow
            self._longest_bytes = flow.bytes
        if self.bytes > FLOOR:
            if now - self._busy_since >= WINDOW:
                self._measure(now)
            if self.bytes > self.limit:
                self._overflow()

    def pull(self, max_bytes: int, now: float) -> list[Packet]:
        """Packets of at most `max_bytes` IP bytes together, which leave the queue. When not even one segment fits,
        one is given, so that a caller with little room never waits for room that will not come. Empty: nothing
        waits, `max_bytes` is below 1, or the pace forbids it until `next_time`."""
        budget = max_bytes
        bucket = self._bucket
        if bucket is not None:
            tokens = bucket.refill(now)
            if not bucket.has(self._step(bucket)):
                if self._on_paced is not None:
                    self._on_paced(bucket.when(self._step(bucket), now))
                return []
            budget = min(budget, max(int(tokens), 1))
        pulled: list[Packet] = []
        if budget < 1:
            return pulled
        sent = self._take(budget, now, pulled)
        if sent:
            if bucket is not None:
                bucket.spend(sent)
            self.counters.egress_bytes += sent
            self._drained += sent
            if not self.bytes or now - self._busy_since >= WINDOW:
                self._measure(now)
        return pulled

    def oldest_age(self, now: float) -> float:
        """Seconds that the oldest packet has waited, 0 when there is none."""
        return max((now - flow.packets[0][1] for flow in self._flows.values() if flow.packets), default=0.0)

    def next_time(self, now: float) -> float | None:
        """When `pull` gives something, `now` or later. None: nothing waits."""
        if not self.packets:
            return None
        bucket = self._bucket
        return now if bucket is None else bucket.when(self._step(bucket), now)

    def change_rate(self, rate: Rate | None) -> None:
        if rate is None or self._bucket is None:
            self._bucket = None if rate is None else TokenBucket(rate)
        else:
            self._bucket.change(rate)
        self._bound()

    def clear(self, reason: str) -> None:
        """Drop everything, counted under `reason`."""
        for flow in self._flows.values():
            for packet, _, size in flow.packets:
                self._drops.count(reason, packet.segments, size)
        self._flows.clear()
        self._new.clear()
        self._old.clear()
        self.bytes = self.packets = self._longest_bytes = 0
        self._longest = None

    def _take(self, budget: int, now: float, pulled: list[Packet]) -> int:
        """Move what fits from the flows to `pulled` → bytes moved."""
        new, old, target = self._new, self._old, self._target
        left, moved = budget, 0
        while left > 0:
            turn = new or old
            if not turn:
                break
            flow = turn[0]
            if not flow.packets:
                self._flow_is_empty(flow, turn)
                continue
            if flow.deficit <= 0:
                if turn is old and len(old) == 1:
                    flow.deficit = QUANTUM  # nobody to be fair to
                else:
                    flow.deficit += QUANTUM
                    old.append(turn.popleft())
                    continue
            packet, since, size = flow.packets[0]
            if now - since < target or flow.bytes <= ONE_SEGMENT:
                if flow.first_above:
                    flow.relax()
            elif self._too_old(flow, now):
                continue
            if size > left:
                # Whole super-packets: a cut costs both ends an object more, so only a head that is alone is cut.
                if pulled:
                    break
                fit = max(1, min(left // packet.largest_segment, packet.segments - 1))
                packet, size = self._cut_head(flow, fit)
            else:
                flow.packets.popleft()
                self.packets -= 1
            flow.bytes -= size
            flow.deficit -= size
            left -= size
            moved += size
            self.counters.egress_packets += packet.segments
            pulled.append(packet)
        self.bytes -= moved
        return moved

    def _add_flow(self, key: FlowKey) -> Flow:
        if len(self._flows) >= MAX_FLOWS:
            key = hash(key) % MAX_FLOWS
            if key in self._flows:
                return self._flows[key]
        flow = self._flows[key] = Flow(key)
        flow.deficit = QUANTUM
        self._new.append(flow)
        return flow

    def _flow_is_empty(self, flow: Flow, turn: deque[Flow]) -> None:
        turn.popleft()
        if turn is self._new and self._old:
            # It stays known for one round of the others, or coming back as new at once would starve them.
            self._old.append(flow)
            return
        del self._flows[flow.key]
        if flow is self._longest:
            self._longest = None
            self._longest_bytes = 0

    def _too_old(self, flow: Flow, now: float) -> bool:
        """The head has waited beyond the target: True when it, or its first segment, was dropped for that."""
        packet, since, _ = flow.packets[0]
        if now - since > MAX_AGE:
            self._drop_head(flow, "queue_delay")
            return True
        if not flow.codel(now):
            return False
        if packet.segments == 1:
            self._drop_head(flow, "queue_delay")
        else:
            _, lost = self._cut_head(flow, 1)
            flow.bytes -= lost
            self.bytes -= lost
            self._drops.count("queue_delay", 1, lost)
        return True

    def _cut_head(self, flow: Flow, count: int) -> tuple[Packet, int]:
        """The first `count` segments of the head and their bytes. The rest stays the head; the caller subtracts."""
        packet, since, size = flow.packets.popleft()
        segments = packet.segments
        if count >= segments:
            self.packets -= 1
            return packet, size
        first = packet.slice(0, count)
        taken = first.ip_bytes
        flow.packets.appendleft((packet.slice(count, segments - count), since, size - taken))
        return first, taken

    def _drop_head(self, flow: Flow, reason: str) -> None:
        packet, _, size = flow.packets.popleft()
        flow.bytes -= size
        self.bytes -= size
        self.packets -= 1
        self._drops.count(reason, packet.segments, size)

    def _overflow(self) -> None:
        while self.bytes > self.limit and self.packets > 1:
            longest = self._longest
            # Looking at every flow for every drop would be slow under a flood of flows: three quarters of the
            # longest is long enough, because what grows beyond it takes its place when it is pushed.
            if longest is None or longest.bytes < self._longest_bytes * 0.75 or len(self._flows) <= 16:
                longest = self._longest = max(self._flows.values(), key=lambda flow: flow.bytes)
                self._longest_bytes = longest.bytes
            self._drop_head(longest, "queue_overflow")

    def _step(self, bucket: TokenBucket) -> float:
        """Bytes that are worth waking up for."""
        return min(self.bytes, max(ONE_SEGMENT, bucket.rate * PACING_STEP))

    def _measure(self, now: float) -> None:
        """Learn the drain rate from the backlog since `_busy_since`, and begin anew."""
        elapsed = now - self._busy_since
        if elapsed >= WINDOW:
            rate = self._drained / elapsed
            self._drain = max((self._drain + rate) / 2 if self._drain else rate, 1.0)
        elif self._drained > FLOOR // 2 and self._drained > self._drain * elapsed:
            self._drain = 0.0  # emptied faster than it was thought to drain: not known any more
        else:
            return
        self._busy_since = now
        self._drained = 0
        self._bound()

    def _bound(self) -> None:
        rates = [rate for rate in (self._drain, self._bucket.rate if self._bucket else 0.0) if rate]
        rate = min(rates, default=0.0)
        self.limit = min(CEILING, max(FLOOR, int(rate * LIMIT_SECONDS))) if rate else CEILING
        # Where one segment takes longer than the target to leave, the target would be unreachable (RFC 8289 §4.3).
        self._target = max(TARGET, min(ONE_SEGMENT / rate, MAX_TARGET)) if rate else TARGET
