"""Counters and drop reasons: counted once, here, and read by every reader from the same objects."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Literal

from vpnrs_core.interfaces.context import Sample

# The core's reasons for dropping a packet, each with the line that status and the documentation print.
CORE_REASONS: Mapping[str, str] = {
    "malformed": "the bytes are not a sound IP packet, or its vnet header disagrees with it",
    "source": "the source address is not one that the sender may use",
    "not_ours": "the client was sent a packet for an address that it neither leases nor routes",
    "isolation": "a packet from one client to another, while clients are isolated",
    "no_route": "no session has this destination",
    "queue_overflow": "the session's queue was full; the longest flow lost this packet",
    "queue_delay": "the packet waited too long in the session's queue (CoDel)",
    "rate_limit": "more than the grant's rate from the client",
    "too_big": "the packet does not fit the path; answered with Packet Too Big",
    "link_local": "a link-local address: it has no meaning beyond the device",
    "multicast": "multicast or broadcast: the tunnel carries unicast only",
    "stage_error": "a plugin's stage raised, or did not say what became of the packet",
    "hold_limit": "a plugin's stage holds as many bytes as it may",
    "injection_hops": "an injected packet's passage tried to inject again",
    "bad_reason": "a plugin's stage dropped the packet under a reason that it had not declared",
    "session_closed": "the session ended while the packet waited",
    "no_link": "the session has no live link",
    "bad_offload": "a segment or partial checksum from the peer breaks the rules of its codec",
    "unknown_context": "a payload from the peer names no codec of this link",
    "bad_payload": "a payload from the peer that its codec cannot decode",
    "plugin_error": "a plugin's codec or link scheduler raised",
    "tun_write": "the kernel refused the packet at the TUN",
}

# What the series of a metric are called in OpenMetrics, behind its name.
_COUNTER = ("", "_total", "_created")
_HISTOGRAM = ("", "_bucket", "_count", "_sum", "_created")

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


class FlowCounters:
    """What one session moved. Packets are segments as on a wire, bytes are those of their IP packets. Ingress counts
    what passed the source check, egress what left the session's queue."""

    __slots__ = ("egress_bytes", "egress_packets", "ingress_bytes", "ingress_packets")

    def __init__(self) -> None:
        self.ingress_packets = 0
        self.ingress_bytes = 0
        self.egress_packets = 0
        self.egress_bytes = 0

    def add(self, other: FlowCounters) -> None:
        self.ingress_packets += other.ingress_packets
        self.ingress_bytes += other.ingress_bytes
        self.egress_packets += other.egress_packets
        self.egress_bytes += other.egress_bytes

    def as_dict(self) -> dict[str, int]:
        """A snapshot by name."""
        return {
            "ingress_packets": self.ingress_packets,
            "ingress_bytes": self.ingress_bytes,
            "egress_packets": self.egress_packets,
            "egress_bytes": self.egress_bytes,
        }


class DropCounts:
    """Dropped packets (segments) and bytes by reason. The set of reasons is closed once loading has ended."""

    def __init__(self, on_undeclared: Callable[[str], None] | None = None) -> None:
        """`on_undeclared(reason)` is called once for each reason that was used and not declared."""
        self.packets: dict[str, int] = dict.fromkeys(CORE_REASONS, 0)
        self.bytes: dict[str, int] = dict.fromkeys(CORE_REASONS, 0)
        self.help: dict[str, str] = dict(CORE_REASONS)
        self._closed = False
        self._reported: set[str] = set()
        self._on_undeclared = on_undeclared

    def declare(self, plugin: str, reason: str, help: str = "") -> str:
        """Add `<plugin>.<reason>` → that name. ValueError for a bad or repeated name, and after `close`."""
        if self._closed:
            raise ValueError(f"drop reason {reason!r} of plugin {plugin} was declared after loading had ended")
        if not _NAME.match(reason):
            raise ValueError(f"drop reason {reason!r} of plugin {plugin}: use a–z, 0–9 and _, a letter first")
        name = f"{plugin}.{reason}"
        if name in self.packets:
            raise ValueError(f"drop reason {name!r} is declared twice")
        self.packets[name] = self.bytes[name] = 0
        self.help[name] = help
        return name

    def close(self) -> None:
        """Loading has ended: no reason may be added."""
        self._closed = True

    def count(self, reason: str, packets: int = 1, bytes: int = 0) -> None:
        """Count under `reason`, or under bad_reason when nobody declared it."""
        if reason not in self.packets:
            self._undeclared(reason)
            reason = "bad_reason"
        self.packets[reason] += packets
        self.bytes[reason] += bytes

    def total(self) -> int:
        """Packets dropped for any reason."""
        return sum(self.packets.values())

    def nonzero(self) -> dict[str, int]:
        """Packets by reason, without the reasons that never occurred."""
        return {reason: n for reason, n in self.packets.items() if n}

    def samples(self) -> Iterable[Sample]:
        for reason, help in self.help.items():
            labels = {"reason": reason}
            yield Sample("vpnrs_dropped_packets", "counter", "", help, labels, self.packets[reason])
            yield Sample("vpnrs_dropped_bytes", "counter", "bytes", help, labels, self.bytes[reason])

    def _undeclared(self, reason: str) -> None:
        # Bounded: a stage that makes up a new reason for each packet must not fill memory or log.
        if reason not in self._reported and len(self._reported) < 100:
            self._reported.add(reason)
            if self._on_undeclared is not None:
                self._on_undeclared(reason)


class SessionDrops(DropCounts):
    """What one session lost, counted here and in the instance's counts, whose reasons and totals it shares."""

    def __init__(self, instance: DropCounts) -> None:
        self._instance = instance
        self.packets, self.bytes, self.help = instance.packets, instance.bytes, instance.help
        self._own: dict[str, int] = {}

    def count(self, reason: str, packets: int = 1, bytes: int = 0) -> None:
        self._instance.count(reason, packets, bytes)
        known = reason if reason in self.packets else "bad_reason"
        self._own[known] = self._own.get(known, 0) + packets

    def nonzero(self) -> dict[str, int]:
        """This session's packets by reason."""
        return dict(self._own)


class Metric:
    """One counter or gauge, a value for each combination of label values."""

    # A label's values come from plugins; what exceeds this is summed under "other", so memory stays bounded.
    MAX_SERIES = 1000

    __slots__ = ("_values", "help", "kind", "labels", "name", "unit")

    def __init__(self, name: str, kind: Literal["counter", "gauge"], help: str, labels: Sequence[str], unit: str):
        self.name = name
        self.kind = kind
        self.help = help
        self.labels = tuple(labels)
        self.unit = unit
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def add(self, n: float = 1, *labels: str) -> None:
        """Add to the value with these label values, in the order in which the names were declared. TypeError for what
        is no number, or no text: whoever reads could not write it down."""
        key = self._key(labels)
        self._values[key] = self._values.get(key, 0) + n

    def value(self, *labels: str) -> float:
        return self._values.get(labels, 0)

    def samples(self) -> Iterable[Sample]:
        for key, value in list(self._values.items()):
            labels = dict(zip(self.labels, key, strict=True))
            yield Sample(self.name, self.kind, self.unit, self.help, labels, value)

    def _key(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {list(self.labels)}, got the values {list(labels)}")
        for value in labels:
            if not isinstance(value, str):
                raise TypeError(f"{self.name}: label values are text, got {value!r}")
        if labels not in self._values and len(self._values) >= self.MAX_SERIES:
            return ("other",) * len(labels)
        return labels


class CounterMetric(Metric):
    """A number that only grows."""

    def add(self, n: float = 1, *labels: str) -> None:
        if n < 0:
            raise ValueError(f"{self.name} is a counter: it cannot go down by {-n}")
        super().add(n, *labels)


class GaugeMetric(Metric):
    """A number that goes up and down."""

    def set(self, value: float, *labels: str) -> None:
        if not isinstance(value, int | float):
            raise TypeError(f"{self.name} is a number, got {value!r}")
        self._values[self._key(labels)] = value


class HistogramMetric:
    """How many of the observed values were not above each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum", "help", "name", "unit")

    def __init__(self, name: str, help: str, bounds: Sequence[float], unit: str = "seconds") -> None:
        """`bounds`: the buckets' upper bounds, ascending; values above the last one are counted behind it."""
        if not bounds or list(bounds) != sorted(set(bounds)):
            raise ValueError(f"{name}: bounds must ascend, got {list(bounds)}")
        self.name = name
        self.help = help
        self.unit = unit
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self) -> Iterable[Sample]:
        buckets = tuple(zip((*self._bounds, float("inf")), accumulate(self._counts), strict=True))
        yield Sample(self.name, "histogram", self.unit, self.help, {}, self._sum, buckets)


class Registry:
    """All metrics of an instance. Plugins declare theirs while loading; the core adds sources."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric | HistogramMetric] = {}
        self._sources: list[Callable[[], Iterable[Sample]]] = []
        self._series: set[str] = set()
        self._closed = False

    def counter(self, plugin: str, name: str, help: str, labels: Sequence[str] = (), unit: str = "") -> CounterMetric:
        """Declare `vpnrs_<plugin>_<name>`, a `_total` at its end left away. ValueError for bad or repeated names, also
        for one that another metric's series have, and after `close`."""
        name = name.removesuffix("_total")
        metric = CounterMetric(self._claim(plugin, name, labels, unit, _COUNTER), "counter", help, labels, unit)
        self._metrics[metric.name] = metric
        return metric

    def gauge(self, plugin: str, name: str, help: str, labels: Sequence[str] = (), unit: str = "") -> GaugeMetric:
        """As `counter`, for a value that is set."""
        metric = GaugeMetric(self._claim(plugin, name, labels, unit), "gauge", help, labels, unit)
        self._metrics[metric.name] = metric
        return metric

    def histogram(
        self, plugin: str, name: str, help: str, bounds: Sequence[float], unit: str = "seconds"
    ) -> HistogramMetric:
        """As `counter`, for a distribution."""
        metric = HistogramMetric(self._claim(plugin, name, (), unit, _HISTOGRAM), help, bounds, unit)
        self._metrics[metric.name] = metric
        return metric

    def source(self, read: Callable[[], Iterable[Sample]]) -> None:
        """Add values that live elsewhere and are read when somebody asks."""
        self._sources.append(read)

    def close(self) -> None:
        """Loading has ended: no metric may be added."""
        self._closed = True

    def samples(self) -> list[Sample]:
        """Every value at this moment."""
        found = [sample for read in self._sources for sample in read()]
        for metric in self._metrics.values():
            found.extend(metric.samples())
        return found

    def _claim(self, plugin: str, name: str, labels: Sequence[str], unit: str, suffixes: Sequence[str] = ("",)) -> str:
        if self._closed:
            raise ValueError(f"counter {name!r} of plugin {plugin} was declared after loading had ended")
        for word in (name, *labels):
            if not _NAME.match(word):
                raise ValueError(f"counter {name!r} of plugin {plugin}: {word!r}: use a–z, 0–9 and _, a letter first")
        if len(set(labels)) != len(labels):
            raise ValueError(f"counter {name!r} of plugin {plugin} has a label twice")
        if unit and not name.endswith(unit):
            raise ValueError(f"counter {name!r} of plugin {plugin} is in {unit}: its name must end so")
        full = f"vpnrs_{plugin.replace('-', '_')}_{name}"
        series = {full + suffix for suffix in suffixes}
        if taken := series & self._series:
            raise ValueError(f"counter {min(taken)!r} is declared twice")
        self._series |= series
        return full
