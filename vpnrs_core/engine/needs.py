"""What the plugins need of the host, taken together."""

from __future__ import annotations

from collections.abc import Sequence

from vpnrs_core.errors import PluginError
from vpnrs_core.interfaces import HostNeeds


def merge_needs(declared: Sequence[tuple[str, HostNeeds]]) -> HostNeeds:
    """`declared`: (plugin, need). Raises PluginError for one that cannot be met: a plugin that works on half of what
    it needs would fail where nobody looks."""
    for plugin, need in declared:
        if need.masquerade:
            prefixes = ", ".join(str(prefix) for prefix in need.masquerade)
            raise PluginError(
                f"plugin {plugin} needs {prefixes} masqueraded, which this release cannot set up: block it with "
                f"-p no:{plugin}, or configure it so that it needs none"
            )
    needs = [need for _, need in declared]
    return HostNeeds(
        to_tun=[network for need in needs for network in need.to_tun],
        reserve=[address for need in needs for address in need.reserve],
        forwarding=any(need.forwarding for need in needs),
    )
