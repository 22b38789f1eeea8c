"""Sessions and links as status and metrics show them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vpnrs_core.engine.history import Rates
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.engine.linkbook import LinkLife
from vpnrs_core.engine.vitals import traffic_status
from vpnrs_core.interfaces import LinkControl, PathFacts, Sample
from vpnrs_core.pipeline.pipeline import Peer
from vpnrs_core.session.session import SessionRecord

Facts = Mapping[str, str | int | float]


def link_status(
    port: LinkPort, control: LinkControl | None, transport: str, life: LinkLife | None, now: float, *, brief: bool
) -> dict[str, Any]:
    """Fields of LinkStatus; `brief`: without the transport's own."""
    path, facts = port.connection.path, port.connection.facts()
    rtt, variation = round_trip(control, path)
    handshake = None if life is None else life.handshake
    return {
        "local": path.local,
        "remote": path.remote,
        "transport": transport,
        "engine": str(facts.get("engine", "")),
        "lane": port.lane.NAME,
        "age_seconds": 0.0 if life is None else round(now - life.since, 3),
        "handshake_ms": _ms(handshake),
        "rtt_ms": _ms(rtt),
        "rtt_variation_ms": _ms(variation),
        "path_rtt_ms": _ms(path.rtt),
        "loss": None if path.loss is None else round(path.loss, 6),
        "congestion_controller": str(facts.get("congestion_controller", "")),
        "congestion_window": _whole(facts, "congestion_window"),
        "bytes_in_flight": _whole(facts, "bytes_in_flight"),
        "datagram_size": path.datagram_size,
        "migrations": 0 if life is None else life.migrations,
        "payloads_sent": port.payloads_sent,
        "payloads_received": port.payloads_received,
        "codecs": list(port.codec_names),
        "facts": {} if brief else dict(facts),
    }


def session_status(
    record: SessionRecord, peer: Peer, age: float, links: Sequence[dict[str, Any]], rates: Rates
) -> dict[str, Any]:
    """Fields of SessionStatus. A client's session that has no link is parked at the server."""
    expires = record.granted.expires
    return {
        "id": record.id,
        "principal": record.principal.name,
        "state": "active" if links else "parked",
        "addresses": [str(address) for address in record.leases],
        "mtu": record.mtu,
        "age_seconds": round(age, 3),
        "expires_seconds": None if expires is None else round(max(0.0, expires - time.time()), 1),
        "links": list(links),
        **traffic_status(peer.counters, rates),
        "queue_bytes": peer.queue.bytes,
        "drops": peer.drops.nonzero(),
    }


def link_samples(port: LinkPort, control: LinkControl | None) -> Iterable[Sample]:
    """Gauges of a client's link: it has one, so they need no labels, and are gone with it."""
    path, facts = port.connection.path, port.connection.facts()
    rtt, variation = round_trip(control, path)
    found = (
        ("vpnrs_link_rtt_seconds", "seconds", "smoothed round-trip time", rtt),
        ("vpnrs_link_rtt_variation_seconds", "seconds", "mean deviation of the round-trip time", variation),
        ("vpnrs_link_loss_ratio", "", "part of the sent QUIC packets that was lost", path.loss),
        ("vpnrs_link_congestion_window_bytes", "bytes", "congestion window", _whole(facts, "congestion_window")),
    )
    for name, unit, help, value in found:
        if value is not None:
            yield Sample(name, "gauge", unit, help, {}, value)


def round_trip(control: LinkControl | None, path: PathFacts) -> tuple[float | None, float | None]:
    """Smoothed seconds and their variation. What the control stream measures tells more than the engine's: it includes
    the peer's turn of the loop."""
    if control is not None and control.rtt is not None:
        return control.rtt, control.rtt_variation
    return path.rtt, None


def engine_of(ports: Iterable[LinkPort]) -> str:
    """The engine that the first connection names, empty: there is none, or its transport has no engines."""
    for port in ports:
        name = port.connection.facts().get("engine")
        if name:
            return str(name)
    return ""


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _whole(facts: Facts, name: str) -> int | None:
    value = facts.get(name)
    return int(value) if isinstance(value, int | float) else None
