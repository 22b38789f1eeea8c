"""What an instance shows of itself: gathered here for status and metrics, read only when somebody asks."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import vpnrs_core
from vpnrs_core.counters import FlowCounters
from vpnrs_core.engine.history import History, Rates
from vpnrs_core.engine.linkbook import LinkBook
from vpnrs_core.engine.tally import Tally
from vpnrs_core.interfaces import Sample, TransportFacts

if TYPE_CHECKING:
    from vpnrs_core.engine.instance import Instance

_INSTANCE = "instance"
_PAGE = os.sysconf("SC_PAGE_SIZE")
_UDP_HELP = {
    "udp_packets_in": "UDP datagrams received, each segment of a coalesced read counting",
    "udp_bytes_in": "bytes of UDP payload received",
    "udp_packets_out": "UDP datagrams sent, each segment of a burst counting",
    "udp_bytes_out": "bytes of UDP payload sent",
    "udp_packets_lost": "UDP datagrams that this host did not take",
    "udp_packets_too_large": "UDP datagrams that the path refused as too large",
}
_TUN_HELP = {
    "frames_read": "frames read from the TUN, super-packets counting once",
    "bytes_read": "their IP bytes",
    "frames_written": "frames written to the TUN, super-packets counting once",
    "bytes_written": "their IP bytes",
}


class Vitals:
    """`book` and `tally` are kept by those who cause what they count, `history` looks at the clock."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.book = LinkBook(instance.loop.time)
        self.tally = Tally()
        self.history = History(self._followed)
        self._wall = time.time()

    def _followed(self) -> Mapping[Hashable, FlowCounters]:
        pipeline = self._instance.pipeline
        return {_INSTANCE: pipeline.traffic(), **{peer: peer.counters for peer in pipeline.peers.values()}}

    def rates(self, whose: Hashable, counters: FlowCounters, *, history: bool = True) -> Rates:
        return self.history.rates(whose, counters, self._instance.loop.time(), history=history)

    # For metrics

    def samples(self) -> Iterable[Sample]:
        """What no other room counts itself."""
        instance = self._instance
        labels = {
            "instance_name": instance.name,
            "role": instance.role,
            "version": vpnrs_core.__version__,
            "transport": instance.configuration.transport,
        }
        yield Sample("vpnrs_instance", "info", "", "what runs", labels, 1)
        yield _gauge("vpnrs_start_time_seconds", "when the instance started, POSIX time", self._wall, "seconds")
        yield _gauge("vpnrs_resident_memory_bytes", "memory of the process", resident_bytes(), "bytes")
        for plugin in instance.plugins.loaded:
            failures = instance.reporter.counts.get(plugin.name, 0)
            help = "how often a plugin raised, was late or broke the contract"
            yield Sample("vpnrs_plugin_failures", "counter", "", help, {"plugin": plugin.name}, failures)
        yield from self._devices()
        yield from self.book.samples()
        yield from self.tally.samples()

    def _devices(self) -> Iterable[Sample]:
        tun = self._instance.tun
        for name, help in _TUN_HELP.items():
            yield _counter(f"vpnrs_tun_{_unit_last(name)}", help, getattr(tun.moved, name))
        failures = sum(tun.write_failures.values())
        yield _counter("vpnrs_tun_write_failures", "frames that the kernel refused at the TUN", failures)
        facts = self.udp()
        for name, help in _UDP_HELP.items():
            if name in facts:
                yield _counter(f"vpnrs_{_unit_last(name)}", help, facts[name])

    def udp(self) -> Mapping[str, int]:
        """The transport's sockets since the start, those that are closed included; {}: it does not tell."""
        transport = self._instance.selection.transport
        return transport.facts() if isinstance(transport, TransportFacts) else {}

    # For status

    def status(self) -> dict[str, Any]:
        """Fields of engine.status.InstanceStatus."""
        traffic = self._instance.pipeline.traffic()
        return {
            "memory_bytes": resident_bytes(),
            **traffic_status(traffic, self.rates(_INSTANCE, traffic)),
            "queue_bytes": sum(peer.queue.bytes for peer in self._instance.pipeline.peers.values()),
            "udp": dict(self.udp()),
            "events": {name: count for name, count in self.tally.events.items() if count},
            "reconnects": self.tally.reconnects,
            "migrations": self.book.migrations,
        }


def traffic_status(counters: FlowCounters, rates: Rates) -> dict[str, Any]:
    """Both directions as fields of engine.status.Traffic."""
    return {
        "ingress": {
            "packets": counters.ingress_packets,
            "bytes": counters.ingress_bytes,
            "bytes_per_second": round(rates.ingress),
            "history": [round(rate) for rate in rates.ingress_history],
        },
        "egress": {
            "packets": counters.egress_packets,
            "bytes": counters.egress_bytes,
            "bytes_per_second": round(rates.egress),
            "history": [round(rate) for rate in rates.egress_history],
        },
    }


def resident_bytes() -> int:
    """What the kernel keeps in memory for this process; 0 where it does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def _unit_last(name: str) -> str:
    """bytes_read → read_bytes, udp_bytes_in → udp_in_bytes: a metric's unit stands at its end."""
    head, found, tail = name.partition("bytes_")
    return f"{head}{tail}_bytes" if found else name


def _gauge(name: str, help: str, value: float, unit: str = "") -> Sample:
    return Sample(name, "gauge", unit, help, {}, value)


def _counter(name: str, help: str, value: float) -> Sample:
    return Sample(name, "counter", "bytes" if name.endswith("_bytes") else "", help, {}, value)
