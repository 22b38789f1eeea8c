"""Says, before a plugin is imported, whether its distribution fits this core."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

CORE = "vpnrs-core"


def incompatibility(requires: Iterable[str], core_version: str) -> str | None:
    """What keeps a distribution with these requirements from running on this core, None: nothing.

    A distribution that states no range for vpnrs-core is taken at its word, as pip does."""
    for text in requires:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            return f"its metadata holds the unreadable requirement {text!r}"
        if canonicalize_name(requirement.name) != CORE or not _applies(requirement):
            continue
        if not requirement.specifier.contains(core_version, prereleases=True):
            return f"it needs {CORE} {requirement.specifier}, this is {core_version}"
    return None


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
