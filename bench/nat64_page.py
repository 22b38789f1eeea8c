"""The NAT64's part of docs/performance.md, made of what bench/nat64.py measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PLAIN, NAT64, TAYGA = "without translation", "vpnrs nat64", "TAYGA + masquerade"
LABELS = {
    "mb": ("memory", "MB"),
    "make_us": ("make one", "µs"),
    "make_longest_ms": ("make one, the longest", "ms"),
    "collect_longest_ms": ("a full garbage collection, the fast path's memory full", "ms"),
    "leave_longest_ms": ("a client with 2,000 leaves, the longest", "ms"),
    "mtu_longest_ms": ("the MTU of a client with 2,000 changes, the longest", "ms"),
    "page_longest_ms": ("a page of them is shown, the longest", "ms"),
    "expire_longest_ms": ("a step of expiring all, the longest", "ms"),
}
MIN_PACKETS, MIN_RATIO, MAX_MB, MAX_PAUSE_MS = 500_000, 0.9, 100, 10
# Bytes of a packet; super-packets have no target.
_ONE_PACKET = 9000
Rows = Iterator[Sequence[str]]


def translator_rows(costs: Sequence[Mapping[str, Any]]) -> Rows:
    """Packets and Gbit a second, of ours and of TAYGA's."""
    names = list(dict.fromkeys(cost["who"] for cost in costs))
    yield ["", *(f"{who}, {unit}" for who in names for unit in ("packets/s", "Gbit/s"))]
    found = {(cost["size"], cost["direction"], cost["who"]): cost for cost in costs}
    for size, direction in dict.fromkeys((cost["size"], cost["direction"]) for cost in costs):
        cells = []
        for who in names:
            cost = found.get((size, direction, who))
            cells += ["–", "–"] if cost is None else [f"{cost['packets']:,.0f}", f"{cost['gbit']:,.2f}"]
        yield [f"{direction}, {size:,} bytes", *cells]


def tunnel_rows(found: Mapping[str, Any]) -> Rows:
    """Medians of the turns, and ratios to the same tunnel without translation."""
    names = list(found["up"])
    yield ["", *names]
    for way in ("up", "down"):
        for key, label, digits in (
            ("mbit", "Mbit/s", 0), ("to_plain", "÷ without translation", 2), ("cpu_s_per_gb", "CPU s per GB", 2),
        ):  # fmt: skip
            yield [f"{way}, {label}", *(f"{found[way][who][key]:,.{digits}f}" for who in names)]


def state_rows(state: Mapping[str, float]) -> Rows:
    """Memory and pauses."""
    yield [f"{state['count']:,} bindings, each with a session", ""]
    for key, (label, unit) in LABELS.items():
        yield [label, f"{state[key]:,.1f} {unit}"]


def target_rows(section: Mapping[str, Any]) -> Rows:
    """What was aimed at, and whether it is reached."""
    yield ["target", "", "measured", ""]
    if costs := [c for c in section.get("translator", ()) if c["who"] == "vpnrs" and c["size"] <= _ONE_PACKET]:
        least = min(costs, key=lambda cost: cost["packets"])
        label = f"the translator alone, packets/s, the least ({least['direction']}, {least['size']:,} bytes)"
        yield [label, f"≥ {MIN_PACKETS:,}", f"{least['packets']:,.0f}", _verdict(least["packets"] >= MIN_PACKETS)]
    for way in ("up", "down") if "tunnel" in section else ():
        ratio = section["tunnel"][way][NAT64]["to_plain"]
        label = f"through the tunnel, {way}, ÷ without translation"
        yield [label, f"≥ {MIN_RATIO:g}", f"{ratio:.2f}", _verdict(ratio >= MIN_RATIO)]
    if state := section.get("state"):
        pause = max(value for key, value in state.items() if key.endswith("longest_ms"))
        yield [f"{state['count']:,} bindings, MB", f"≤ {MAX_MB}", f"{state['mb']:.0f}", _verdict(state["mb"] <= MAX_MB)]
        yield ["the longest pause, ms", f"≤ {MAX_PAUSE_MS}", f"{pause:.1f}", _verdict(pause <= MAX_PAUSE_MS)]


def _verdict(met: bool) -> str:
    return "met" if met else "**not met**"


def tables(section: Mapping[str, Any]) -> Iterator[list[Sequence[str]]]:
    """Each with its header first; what was not measured is left out."""
    if "translator" in section:
        yield list(translator_rows(section["translator"]))
    if "tunnel" in section:
        yield list(tunnel_rows(section["tunnel"]))
    if "state" in section:
        yield list(state_rows(section["state"]))
    yield list(target_rows(section))
