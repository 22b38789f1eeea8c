"""The hooks that register nothing: called for all plugins, and what they return looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pluggy

from vpnrs_core.config.models import Configuration
from vpnrs_core.interfaces import Finding, HostNeeds
from vpnrs_core.plugins.failure import Failure, refuse
from vpnrs_core.plugins.manager import call_each


def findings_of(manager: pluggy.PluginManager, configuration: Configuration) -> list[Finding]:
    """What the plugins find wrong with the whole configuration. Raises PluginError for a hook that raised or returned
    what is no list of findings: what it wanted to say must not be lost."""
    hook = "vpnrs_check"
    failures: list[Failure] = []
    found: list[Finding] = []
    for plugin, several in call_each(manager, hook, failures=failures, needs_list=True, configuration=configuration):
        if isinstance(several, list | tuple) and all(isinstance(each, Finding) for each in several):
            found += several
        else:
            failures.append(_nonsense(plugin, hook, several, "a list of Finding"))
    refuse(failures)
    return found


def needs_of(manager: pluggy.PluginManager) -> Sequence[tuple[str, HostNeeds]]:
    """(plugin, what it needs of the host). Raises PluginError as `findings_of`."""
    hook = "vpnrs_declare_host_needs"
    failures: list[Failure] = []
    declared = call_each(manager, hook, failures=failures)
    failures += [
        _nonsense(plugin, hook, n, "HostNeeds or None") for plugin, n in declared if not isinstance(n, HostNeeds)
    ]
    refuse(failures)
    return declared


def _nonsense(plugin: str, hook: str, returned: Any, wanted: str) -> Failure:
    return Failure(plugin, "hook", f"{hook} returned {returned!r}, not {wanted}")
