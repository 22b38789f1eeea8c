"""Finds installed plugins from the metadata of distributions. Imports none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points

GROUP = "vpnrs"
COMMANDS_GROUP = "vpnrs.commands"


@dataclass(frozen=True)
class Installed:
    """One entry point. `requires` are the distribution's requirements as written; `rivals` are other distributions
    that offer the same name."""

    name: str
    entry_point: EntryPoint
    distribution: str
    version: str
    summary: str
    requires: tuple[str, ...]
    rivals: tuple[str, ...] = ()


def discover(group: str = GROUP) -> Mapping[str, Installed]:
    """Entry points of `group` by name, in the order of their names."""
    found: dict[str, Installed] = {}
    for entry_point in entry_points(group=group):
        plugin = _read(entry_point)
        first = found.get(plugin.name)
        if first is None:
            found[plugin.name] = plugin
        elif plugin.distribution != first.distribution:
            rivals = (*first.rivals, plugin.distribution)
            found[plugin.name] = Installed(
                first.name, first.entry_point, first.distribution, first.version, first.summary, first.requires, rivals
            )
    return dict(sorted(found.items()))


def distribution_name(plugin: str) -> str:
    """The name that a plugin of ours is published under: auth_token → vpnrs-auth-token."""
    return "vpnrs-" + plugin.replace("_", "-").lower()


def _read(entry_point: EntryPoint) -> Installed:
    distribution = entry_point.dist
    if distribution is None:
        return Installed(entry_point.name, entry_point, "unknown", "unknown", "", ())
    try:
        metadata = distribution.metadata
        name, version = metadata["Name"] or "unknown", metadata["Version"] or "unknown"
        summary = metadata["Summary"] or ""
        requires = tuple(distribution.requires or ())
    except (PackageNotFoundError, KeyError):
        # Removed halfway or without METADATA: listed by what is left, and found out when it is named.
        return Installed(entry_point.name, entry_point, "unknown", "unknown", "", ())
    return Installed(entry_point.name, entry_point, name, version, summary, requires)
