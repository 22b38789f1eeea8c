"""Looks at a plugin's class before anything of it runs: its shape, and its hooks against the contract."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from typing import Any

import pydantic

from vpnrs_core.events import Event
from vpnrs_core.hookspecs import PROJECT
from vpnrs_core.plugins.manager import hook_names

_MARK = PROJECT + "_impl"


class NoKeys(pydantic.BaseModel):
    """The Config of a plugin that has none: any key is an error."""

    model_config = pydantic.ConfigDict(extra="forbid")


def config_model(plugin: type) -> type[pydantic.BaseModel]:
    """The plugin's pydantic model, strict about unknown keys even where its author forgot to be."""
    model: type[pydantic.BaseModel] = getattr(plugin, "Config", NoKeys)
    if model.model_config.get("extra") == "forbid":
        return model
    return type(
        model.__name__, (model,), {"model_config": pydantic.ConfigDict(extra="forbid"), "__module__": model.__module__}
    )


def problems(plugin: object) -> Iterator[str]:
    """What breaks the contract's rules for the object that an entry point named, a line each."""
    if not inspect.isclass(plugin):
        yield f"the entry point names {plugin!r}, not a class; name the class that implements the hooks"
        return
    config = getattr(plugin, "Config", NoKeys)
    if not (inspect.isclass(config) and issubclass(config, pydantic.BaseModel)):
        yield f"{plugin.__name__}.Config is not a pydantic model"
    yield from _declaration_problems(plugin)
    hooks = 0
    for name in dir(plugin):
        function = inspect.getattr_static(plugin, name)
        function = getattr(function, "__func__", function)
        options = getattr(function, _MARK, None)
        if isinstance(options, dict):
            hooks += 1
            yield from _hook_problems(plugin, name, function, options)
        elif name.startswith("vpnrs_") and callable(function):
            yield f"{plugin.__name__}.{name} looks like a hook, but is not marked; put @impl above it"
            hooks += 1
    if hooks:
        yield from _constructor_problems(plugin)
    else:
        yield f"{plugin.__name__} implements no hook; mark its hooks with @impl of vpnrs_core.hookspecs"


def _constructor_problems(plugin: type) -> Iterator[str]:
    try:
        signature = inspect.signature(plugin)
    except ValueError:
        return  # made in C: the call itself will tell
    try:
        signature.bind(None, None)
    except TypeError:
        line = _line(inspect.getattr_static(plugin, "__init__"))
        yield f"{plugin.__name__}.__init__{line} is called with (config, ctx), but takes {signature}; take these two"


def _declaration_problems(plugin: type) -> Iterator[str]:
    reasons = getattr(plugin, "DROP_REASONS", ())
    if isinstance(reasons, str) or not all(isinstance(reason, str) for reason in reasons):
        yield f"{plugin.__name__}.DROP_REASONS is not a sequence of names"
    for event in getattr(plugin, "EVENTS", ()):
        if not (inspect.isclass(event) and issubclass(event, Event)):
            yield f"{plugin.__name__}.EVENTS holds {event!r}, which is no type of event"


def _hook_problems(plugin: type, name: str, function: Any, options: dict[str, Any]) -> Iterator[str]:
    where = f"{plugin.__name__}.{name}{_line(function)}"
    if options.get("wrapper") or options.get("hookwrapper"):
        yield f"{where} is a hook wrapper, which could hide or change what other plugins do; make it a plain hook"
    hook = options.get("specname") or name
    if hook not in hook_names():
        close = difflib.get_close_matches(hook, sorted(hook_names()), n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else f"; the hooks are {', '.join(sorted(hook_names()))}"
        yield f"{where} is marked as hook {hook}, which does not exist{hint}"
    if inspect.iscoroutinefunction(function):
        yield f"{where} is async; hooks are synchronous, async work belongs to the objects that they return"


def _line(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return f" (line {code.co_firstlineno})" if code else ""
