"""Sessions and links as status shows them (engine.status)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vpnrs_core.engine.link import LinkPort
from vpnrs_core.interfaces import LinkControl, Session
from vpnrs_core.pipeline.pipeline import Peer


def link_status(port: LinkPort, control: LinkControl | None, transport: str) -> dict[str, Any]:
    """Fields of LinkStatus. The round trip measured on the control stream tells more than the engine's: it includes
    the peer's turn of the loop."""
    path = port.connection.path
    rtt = control.rtt if control is not None and control.rtt is not None else path.rtt
    return {
        "remote": path.remote,
        "transport": transport,
        "lane": port.lane.NAME,
        "rtt_ms": None if rtt is None else round(rtt * 1000, 3),
        "codecs": list(port.codec_names),
        "facts": dict(port.connection.facts()),
    }


def session_status(
    session: Session, peer: Peer, age: float, parked: bool, links: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Fields of SessionStatus."""
    counters = peer.counters
    return {
        "id": session.id,
        "principal": session.principal.name,
        "state": "parked" if parked else "active",
        "addresses": [str(address) for address in session.leases],
        "mtu": session.mtu,
        "age_seconds": round(age, 3),
        "links": list(links),
        "ingress": {"packets": counters.ingress_packets, "bytes": counters.ingress_bytes},
        "egress": {"packets": counters.egress_packets, "bytes": counters.egress_bytes},
        "queue_bytes": peer.queue.bytes,
        "drops": peer.drops.nonzero(),
    }


def engine_of(ports: Iterable[LinkPort]) -> str:
    """The engine that the first connection names, empty: there is none, or its transport has no engines."""
    for port in ports:
        name = port.connection.facts().get("engine")
        if name:
            return str(name)
    return ""
