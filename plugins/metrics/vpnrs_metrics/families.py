"""Samples and sessions as metric families of prometheus_client, with names, units and labels as OpenMetrics wants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from vpnrs_core.interfaces import Sample

# Here each label value has a help of its own; a family has one.
_HELP = {
    "vpnrs_dropped_packets": "packets dropped, by reason",
    "vpnrs_dropped_bytes": "bytes of the packets dropped, by reason",
}
_OWNER = ("session", "principal")


def families(samples: Iterable[Sample]) -> Iterator[Metric]:
    """One family for each name, in the order in which the names first came. The first of a name says what it is: the
    core's come first, and a sample of another kind, or with other labels, is left out, for a scraper would refuse all
    of them."""
    found: dict[str, tuple[tuple[object, ...], Metric]] = {}
    for sample in samples:
        what = (sample.kind, sample.unit, *sample.labels)
        known = found.get(sample.name)
        if known is None:
            known = found[sample.name] = what, _family(sample)
        if known[0] == what:
            _add(known[1], sample)
    yield from (family for _, family in found.values())


def distinct(found: Iterable[Metric]) -> Iterator[Metric]:
    """Without families whose name another one has already."""
    names: set[str] = set()
    for family in found:
        if family.name not in names:
            names.add(family.name)
            yield family


def _family(sample: Sample) -> Metric:
    help = _HELP.get(sample.name, sample.help)
    if sample.kind == "info":
        return InfoMetricFamily(sample.name, help)
    if sample.kind == "histogram":
        return HistogramMetricFamily(sample.name, help, labels=tuple(sample.labels), unit=sample.unit)
    make = CounterMetricFamily if sample.kind == "counter" else GaugeMetricFamily
    return make(sample.name, help, labels=tuple(sample.labels), unit=sample.unit)


def _add(family: Metric, sample: Sample) -> None:
    if isinstance(family, InfoMetricFamily):
        family.add_metric((), {name: _text(value) for name, value in sample.labels.items()})
    elif isinstance(family, HistogramMetricFamily):
        buckets = [("+Inf" if bound == inf else str(float(bound)), count) for bound, count in sample.buckets]
        family.add_metric(tuple(map(_text, sample.labels.values())), buckets, sample.value)
    elif isinstance(family, CounterMetricFamily | GaugeMetricFamily):
        family.add_metric(tuple(map(_text, sample.labels.values())), sample.value)


def session_families(sessions: Sequence[Mapping[str, Any]], most: int) -> Iterator[Metric]:
    """`sessions` are SessionStatus as JSON, oldest first. Nothing is kept: who is not among them has no series."""
    shown = sessions[:most]
    yield GaugeMetricFamily(
        "vpnrs_metrics_sessions_hidden", "sessions beyond max_sessions, without series", len(sessions) - len(shown)
    )
    for direction in ("ingress", "egress"):
        for what in ("packets", "bytes"):
            unit = "bytes" if what == "bytes" else ""
            family = CounterMetricFamily(
                f"vpnrs_session_{direction}_{what}", f"{direction} of one session", labels=_OWNER, unit=unit
            )
            for session in shown:
                family.add_metric(_owner(session), session[direction][what])
            yield family
    drops = CounterMetricFamily(
        "vpnrs_session_dropped_packets", "packets that one session lost, by reason", labels=(*_OWNER, "reason")
    )
    for session in shown:
        for reason, count in session["drops"].items():
            drops.add_metric((*_owner(session), reason), count)
    yield drops
    yield from _session_gauges(shown)


def _session_gauges(sessions: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    gauges = {
        "vpnrs_session_active": ("1 with a link, 0 while parked", ""),
        "vpnrs_session_age_seconds": ("since the session was granted", "seconds"),
        "vpnrs_session_queued_bytes": ("waiting to be sent to this peer", "bytes"),
        "vpnrs_session_rtt_seconds": ("smoothed round-trip time of its newest link", "seconds"),
        "vpnrs_session_rtt_variation_seconds": ("mean deviation of that round-trip time", "seconds"),
        "vpnrs_session_loss_ratio": ("part of the QUIC packets sent on its newest link that was lost", ""),
        "vpnrs_session_congestion_window_bytes": ("congestion window of its newest link", "bytes"),
    }
    made = {name: GaugeMetricFamily(name, help, labels=_OWNER, unit=unit) for name, (help, unit) in gauges.items()}
    for session in sessions:
        owner = _owner(session)
        made["vpnrs_session_active"].add_metric(owner, float(session["state"] == "active"))
        made["vpnrs_session_age_seconds"].add_metric(owner, session["age_seconds"])
        made["vpnrs_session_queued_bytes"].add_metric(owner, session["queue_bytes"])
        if not session["links"]:
            continue
        link = session["links"][-1]
        for name, value, scale in (
            ("vpnrs_session_rtt_seconds", link["rtt_ms"], 1000),
            ("vpnrs_session_rtt_variation_seconds", link["rtt_variation_ms"], 1000),
            ("vpnrs_session_loss_ratio", link["loss"], 1),
            ("vpnrs_session_congestion_window_bytes", link["congestion_window"], 1),
        ):
            if value is not None:
                made[name].add_metric(owner, value / scale)
    yield from made.values()


def _owner(session: Mapping[str, Any]) -> tuple[str, str]:
    return session["id"], _text(session["principal"])


def _text(value: str) -> str:
    """What UTF-8 cannot say, half a surrogate, must not cost the whole scrape."""
    return value if value.isascii() else value.encode(errors="replace").decode()
