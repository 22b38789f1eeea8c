"""What `vpnrs plugins list` prints: every plugin, its state, and what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pydantic
from pydantic import Field

import vpnrs_core
from vpnrs_core.config.explain import validate_table
from vpnrs_core.config.models import Configuration
from vpnrs_core.hookspecs import HOOK_API
from vpnrs_core.plugins.choice import BUILTIN, choose, missing_hint
from vpnrs_core.plugins.compat import incompatibility
from vpnrs_core.plugins.discover import Installed, discover
from vpnrs_core.plugins.inspection import config_model
from vpnrs_core.plugins.load import import_plugin
from vpnrs_core.plugins.manager import hook_names

State = Literal["built-in", "active", "installed", "broken", "incompatible", "missing"]


class PluginReport(pydantic.BaseModel):
    """One plugin."""

    name: str = Field(description="Name that [plugins.NAME] and -p take.")
    distribution: str = Field(description="Distribution that it is installed from.")
    version: str = Field(description="Version of the distribution, empty when it is missing.")
    state: State = Field(
        description="built-in; active: the configuration names it and it can be loaded; installed: nothing names it, "
        "not imported; broken: it fails to import or to accept its table; incompatible: made for another core; "
        "missing: named but not installed."
    )
    summary: str = Field(description="What it is for.")
    hooks: list[str] = Field(description="Hooks that it implements; empty when it was not imported.")
    problem: str = Field("", description="What is wrong, empty: nothing.")


class PluginsReport(pydantic.BaseModel):
    """The object that `vpnrs plugins list --json` prints."""

    schema_version: Literal[1] = Field(1, description="Version of this schema.")
    hook_api: str = Field(HOOK_API, description="Version of the plugin contract.")
    plugins: list[PluginReport] = Field(description="The built-in plugin first, then by name.")


def report(
    configuration: Configuration | None = None, installed: Mapping[str, Installed] | None = None
) -> PluginsReport:
    """Judge every installed plugin. Only those that `configuration` names are imported."""
    found = discover() if installed is None else installed
    named = configuration.plugins if configuration else {}
    rows = [_builtin()]
    for plugin in found.values():
        rows.append(_named(plugin, configuration) if configuration and plugin.name in named else _unnamed(plugin))
    rows += [_missing(name, found) for name in named if name not in found and name != BUILTIN]
    return PluginsReport(plugins=[rows[0], *sorted(rows[1:], key=lambda row: row.name)])


def _builtin() -> PluginReport:
    from vpnrs_core.builtin.plugin import Builtin

    return PluginReport(
        name=BUILTIN,
        distribution="vpnrs-core",
        version=vpnrs_core.__version__,
        state="built-in",
        summary="What the core itself registers.",
        hooks=_hooks(Builtin),
    )


def _unnamed(plugin: Installed) -> PluginReport:
    misfit = incompatibility(plugin.requires, vpnrs_core.__version__)
    return _row(plugin, "incompatible" if misfit else "installed", problem=misfit or "")


def _named(plugin: Installed, configuration: Configuration) -> PluginReport:
    choice = choose([plugin.name], {plugin.name: plugin}, where=configuration.where)
    if choice.failures:
        first = choice.failures[0]
        return _row(plugin, "incompatible" if first.stage == "compatibility" else "broken", problem=first.cause)
    loaded, failures = import_plugin(plugin)
    if failures:
        return _row(plugin, "broken", problem=f"{failures[0].stage}: {failures[0].cause}")
    table = configuration.plugins[plugin.name]
    _, lines = validate_table(config_model(loaded), table, configuration.where, ("plugins", plugin.name))
    state: State = "broken" if lines else "active"
    return _row(plugin, state, hooks=_hooks(loaded), problem="; ".join(lines))


def _missing(name: str, installed: Mapping[str, Installed]) -> PluginReport:
    hint = f"not installed; {missing_hint(name, installed)}"
    return PluginReport(name=name, distribution="", version="", state="missing", summary="", hooks=[], problem=hint)


def _row(plugin: Installed, state: State, *, hooks: list[str] | None = None, problem: str = "") -> PluginReport:
    return PluginReport(
        name=plugin.name,
        distribution=plugin.distribution,
        version=plugin.version,
        state=state,
        summary=plugin.summary,
        hooks=hooks or [],
        problem=problem,
    )


def _hooks(plugin: type) -> list[str]:
    return sorted(name for name in dir(plugin) if name in hook_names())
