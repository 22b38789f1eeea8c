"""The plugin manager, and the only way that the core calls hooks: one implementation at a time, each contained."""

from __future__ import annotations

from typing import Any

import pluggy

from vpnrs_core import hookspecs
from vpnrs_core.errors import ConfigError
from vpnrs_core.plugins.failure import Failure, describe, refuse


def build_manager() -> pluggy.PluginManager:
    """A manager that knows the contract's hooks and no plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def hook_names() -> frozenset[str]:
    """The names of all hooks of the contract."""
    return frozenset(name for name in vars(hookspecs) if name.startswith("vpnrs_"))


def hooks_of(manager: pluggy.PluginManager, plugin: object) -> tuple[str, ...]:
    """The hooks that a registered plugin implements, sorted."""
    return tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))


def call_each(
    manager: pluggy.PluginManager,
    hook: str,
    *,
    failures: list[Failure] | None = None,
    needs_list: bool = False,
    **arguments: Any,
) -> list[tuple[str, Any]]:
    """Call every implementation of `hook` → (plugin, result) in the order of registration, None results left out;
    with `needs_list` None is a failure: who forgot `return` has registered nothing, and a filter would be missing.

    One that raises does not keep the others from being called. With `failures`, what was raised is added there;
    without, PluginError names each plugin, hook and cause after all have been called."""
    collected = failures if failures is not None else []
    results: list[tuple[str, Any]] = []
    implementations = getattr(manager.hook, hook).get_hookimpls()
    for implementation in sorted(implementations, key=lambda i: (not i.tryfirst, i.trylast)):
        try:
            result = implementation.function(*(arguments[name] for name in implementation.argnames))
        except ConfigError as error:
            collected.append(Failure(implementation.plugin_name, "hook", str(error), error))
            continue
        except (Exception, SystemExit) as error:
            collected.append(Failure(implementation.plugin_name, "hook", f"{hook} raised {describe(error)}", error))
            continue
        if result is None and needs_list:
            cause = f"{hook} returned None, not a list; is a `return` missing? Nothing to register is []"
            collected.append(Failure(implementation.plugin_name, "hook", cause))
        elif result is not None:
            results.append((implementation.plugin_name, result))
    if failures is None:
        refuse(collected)
    return results
