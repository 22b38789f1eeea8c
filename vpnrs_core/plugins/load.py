"""Loads plugins step by step, so that every failure has a plugin, a stage and a cause."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pluggy

import vpnrs_core
from vpnrs_core.config.explain import validate_table
from vpnrs_core.config.models import Configuration
from vpnrs_core.errors import VpnrsError
from vpnrs_core.events import Event
from vpnrs_core.interfaces import Context, QuicEngine
from vpnrs_core.plugins.choice import BUILTIN, choose
from vpnrs_core.plugins.deprecation import deprecations_of
from vpnrs_core.plugins.discover import Installed, discover
from vpnrs_core.plugins.failure import Failure, describe, refuse
from vpnrs_core.plugins.inspection import config_model, problems
from vpnrs_core.plugins.manager import build_manager, hooks_of
from vpnrs_core.plugins.registry import Registry

MakeContext = Callable[[str], Context]
# The built-in plugin is made with the whole configuration, its context, and a way to the registered QUIC engines.
MakeBuiltin = Callable[[Configuration, Context, Callable[[], Mapping[str, QuicEngine]]], object]


@dataclass(frozen=True)
class LoadedPlugin:
    """A registered plugin. `hooks` are the hooks that it implements."""

    name: str
    distribution: str
    version: str
    summary: str
    builtin: bool
    plugin: object
    hooks: tuple[str, ...]


@dataclass(frozen=True)
class Plugins:
    """All that was loaded: the manager for `call_each`, the plugins in order, and what they registered.

    `drop_reasons` are complete names (`nat64.no_binding`) and their help; `events` are the event types that plugins
    declare; `warnings` say what plugins use that is deprecated, a line each."""

    manager: pluggy.PluginManager
    loaded: Sequence[LoadedPlugin]
    registry: Registry
    drop_reasons: Mapping[str, str]
    events: frozenset[type[Event]]
    warnings: Sequence[str] = ()


def load_plugins(
    configuration: Configuration,
    make_context: MakeContext,
    *,
    enable: Sequence[str] = (),
    block: Collection[str] = (),
    installed: Mapping[str, Installed] | None = None,
    builtin: MakeBuiltin | None = None,
) -> Plugins:
    """Load the built-ins and every plugin that is named, and collect what they register.

    Each stage is done for all plugins before the refusal, so that one start tells all that is wrong. Raises
    PluginError, or ConfigError when only plugins' tables are wrong; one line a failure."""
    manager = build_manager()
    registry = Registry()
    loaded = [_register_builtin(manager, configuration, make_context, registry, builtin)]
    choice = choose(
        configuration.plugins,
        discover() if installed is None else installed,
        enable=enable,
        block=block,
        where=configuration.where,
    )
    failures = choice.failures
    warned: list[str] = []
    for candidate in choice.chosen:
        with deprecations_of(candidate.name, warned):
            outcome = _load_one(manager, candidate, configuration, make_context)
        if isinstance(outcome, LoadedPlugin):
            loaded.append(outcome)
        else:
            failures += outcome
    refuse(failures)
    registry.collect(manager)
    return Plugins(
        manager=manager,
        loaded=tuple(loaded),
        registry=registry,
        drop_reasons={f"{p.name}.{reason}": text for p in loaded for reason, text in _reasons(p.plugin)},
        events=frozenset(event for p in loaded for event in getattr(p.plugin, "EVENTS", ())),
        warnings=tuple(warned),
    )


def _reasons(plugin: object) -> Iterable[tuple[str, str]]:
    declared = getattr(plugin, "DROP_REASONS", ())
    return declared.items() if isinstance(declared, Mapping) else ((reason, "") for reason in declared)


def import_plugin(candidate: Installed) -> tuple[Any, list[Failure]]:
    """Import and inspect → (class, []) or (None, failures)."""
    try:
        plugin = candidate.entry_point.load()
    except (Exception, SystemExit) as error:
        return None, [Failure(candidate.name, "import", describe(error), error)]
    found = [Failure(candidate.name, "inspection", problem) for problem in problems(plugin)]
    return (None if found else plugin), found


def _load_one(
    manager: pluggy.PluginManager, candidate: Installed, configuration: Configuration, make_context: MakeContext
) -> LoadedPlugin | list[Failure]:
    name = candidate.name
    plugin, failures = import_plugin(candidate)
    if failures:
        return failures
    config, lines = validate_table(
        config_model(plugin),
        configuration.plugins.get(name, {}),
        configuration.where,
        ("plugins", name),
        folder=configuration.source.parent if configuration.source else Path.cwd(),
    )
    if lines:
        return [Failure(name, "configuration", line) for line in lines]
    try:
        made = plugin(config, make_context(name))
    except VpnrsError as error:
        # The plugin has found its table or files wrong, and says so in the same words as the core would.
        return [Failure(name, "construction", str(error), error)]
    except (Exception, SystemExit) as error:
        return [Failure(name, "construction", describe(error), error)]
    try:
        manager.register(made, name)
        manager.check_pending()
    except (Exception, SystemExit) as error:
        return [Failure(name, "registration", describe(error), error)]
    return LoadedPlugin(
        name, candidate.distribution, candidate.version, candidate.summary, False, made, hooks_of(manager, made)
    )


def _register_builtin(
    manager: pluggy.PluginManager,
    configuration: Configuration,
    make_context: MakeContext,
    registry: Registry,
    builtin: MakeBuiltin | None,
) -> LoadedPlugin:
    if builtin is None:
        from vpnrs_core.builtin.plugin import Builtin

        builtin = Builtin
    made = builtin(configuration, make_context(BUILTIN), lambda: registry.objects("quic_engines"))
    manager.register(made, BUILTIN)
    version = vpnrs_core.__version__
    return LoadedPlugin(
        BUILTIN, "vpnrs-core", version, "What the core itself registers.", True, made, hooks_of(manager, made)
    )
