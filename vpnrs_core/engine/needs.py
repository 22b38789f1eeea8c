"""What the plugins need of the host, taken together."""

from __future__ import annotations

from collections.abc import Sequence

from vpnrs_core.interfaces import HostNeeds


def merge_needs(declared: Sequence[tuple[str, HostNeeds]]) -> HostNeeds:
    """`declared`: (plugin, need)."""
    needs = [need for _, need in declared]
    return HostNeeds(
        to_tun=[network for need in needs for network in need.to_tun],
        reserve=[address for need in needs for address in need.reserve],
        masquerade=list(dict.fromkeys(network for need in needs for network in need.masquerade)),
        forwarding=any(need.forwarding for need in needs),
    )
