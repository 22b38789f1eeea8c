"""How a plugin's failure is turned into an event that names it: plugin, hook, error and line."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping

from vpnrs_core.engine.bus import EventBus
from vpnrs_core.errors import PluginError
from vpnrs_core.events import PluginFailed
from vpnrs_core.plugins.load import Plugins

REPEATS_PER_SECOND = 1.0
BURST = 5.0


# What a plugin's code may raise where nothing is awaited, and nobody can have cancelled it.
RAISED = (Exception, SystemExit, asyncio.CancelledError)


def describe(exc: BaseException, *, with_text: bool = True) -> str:
    """Type, text, and the file and line that raised."""
    frames = traceback.extract_tb(exc.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    text = f": {exc}" if with_text and str(exc) else ""
    return f"{type(exc).__name__}{text}{where}"


# Kinds whose objects the core knows by their NAME where it calls them.
_NAMED = ("quic_engines", "transports", "session_protocols", "link_schedulers", "address_allocators")


class Owners:
    """Which plugin something belongs to, so that a failure bears the name that a configuration has."""

    def __init__(self, plugins: Plugins) -> None:
        self._builtin = {p.name for p in plugins.loaded if p.builtin}
        self._loaded = {p.name for p in plugins.loaded}
        self._packages = {_package(type(p.plugin).__module__): p.name for p in plugins.loaded if not p.builtin}
        self._names: Mapping[str, str] = {
            entry.name: entry.owner for kind in _NAMED for entry in plugins.registry.all(kind)
        }

    @property
    def watched(self) -> bool:
        """Whether there is a plugin besides the built-ins."""
        return bool(self._packages)

    def of_error(self, exc: BaseException) -> str | None:
        """The plugin whose code raised or called what raised, the innermost first; None: it was the core's alone."""
        frames = [frame for frame, _ in traceback.walk_tb(exc.__traceback__)]
        owners = (self.of_module(str(frame.f_globals.get("__name__", ""))) for frame in reversed(frames))
        return next((owner for owner in owners if owner is not None), None)

    def of_module(self, name: str) -> str | None:
        """The plugin that a module belongs to, by its package. None: it is no plugin's, or a built-in's."""
        return self._packages.get(_package(name))

    def of(self, name: str, exc: BaseException | str) -> str:
        """`name` is a plugin, or the NAME of what one registered, or of a part of the core that called plugins."""
        if name in self._loaded and name not in self._builtin:
            return name
        raised_in = None if isinstance(exc, str) else self.of_error(exc)
        registered = str(getattr(exc, "registered", name))
        return raised_in or self._names.get(registered, name)


def _package(module: str) -> str:
    return module.partition(".")[0]


def cancelled_by_others() -> bool:
    """Whether a CancelledError is the running task's end. If not, the plugin's code raised it: it awaited something
    of its own that had been cancelled, say."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def expect(made: object, attribute: str, call: str, wanted: str) -> None:
    """Raises PluginError when what a plugin's `call` (`plugin x: dial`) returned has no such attribute."""
    if not hasattr(made, attribute):
        raise PluginError(f"{call} returned {type(made).__name__}, not a {wanted}: it has no `{attribute}`")


class FailureReporter:
    """Emits PluginFailed, limited a plugin and hook: a stage that raises for each batch must not flood the log.

    `counts` holds every failure, reported or not, by plugin. `owners` is set once plugins have been loaded."""

    owners: Owners | None = None

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._tokens: dict[tuple[str, str], tuple[float, float]] = {}
        self.counts: dict[str, int] = {}

    def report(self, plugin: str, hook: str, exc: BaseException | str, now: float) -> None:
        """`plugin` is whom the caller takes for the culprit, which `owners` may know better; `now` is monotonic
        seconds."""
        if self.owners is not None:
            plugin = self.owners.of(plugin, exc)
        self.counts[plugin] = self.counts.get(plugin, 0) + 1
        tokens, at = self._tokens.get((plugin, hook), (BURST, now))
        tokens = min(BURST, tokens + (now - at) * REPEATS_PER_SECOND)
        if tokens >= 1.0:
            self._bus.emit(PluginFailed(plugin=plugin, hook=hook, error=exc if isinstance(exc, str) else describe(exc)))
            tokens -= 1.0
        self._tokens[plugin, hook] = (tokens, now)
