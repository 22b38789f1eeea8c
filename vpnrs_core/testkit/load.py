"""One installed plugin, loaded alone, step by step as `vpnrs run` loads it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vpnrs_core.config.load import from_data
from vpnrs_core.config.models import Configuration
from vpnrs_core.errors import PluginError
from vpnrs_core.plugins.kinds import BY_WORD
from vpnrs_core.plugins.load import LoadedPlugin, Plugins, load_plugins
from vpnrs_core.testkit.clock import Clock
from vpnrs_core.testkit.context import KitContext

SERVER: Mapping[str, Any] = {"role": "server", "addresses": {"ipv4": "10.0.0.0/24", "ipv6": "fd00::/64"}}
CLIENT: Mapping[str, Any] = {"role": "client", "server": "192.0.2.1:4433", "ca": "system"}


@dataclass(frozen=True)
class Loaded:
    """`plugin` is its object, `context` what it was given; `plugins` all that was loaded, the built-ins included."""

    plugin: Any
    context: KitContext
    plugins: Plugins
    configuration: Configuration

    @property
    def facts(self) -> LoadedPlugin:
        return next(each for each in self.plugins.loaded if each.plugin is self.plugin)

    def all(self, kind: str) -> Sequence[Any]:
        """What the plugin registered of a kind (`stage`, `codec` …, as `vpnrs plugins new --kind` has them)."""
        entries = self.plugins.registry.all(BY_WORD[kind].registry)
        return [entry.object for entry in entries if entry.owner == self.facts.name]

    def one(self, kind: str, name: str | None = None) -> Any:
        """The only one of a kind, or the one with this NAME. Raises PluginError."""
        found = self.all(kind)
        if name is not None:
            found = [each for each in found if (each.name if kind == "command" else each.NAME) == name]
        if len(found) != 1:
            called = f" called {name!r}" if name else ""
            raise PluginError(
                f"plugin {self.facts.name} registers {len(found)} {kind}s{called}; say which one is meant"
            )
        return found[0]


def load(
    plugin: str,
    table: Mapping[str, Any] | None = None,
    *,
    role: Literal["server", "client"] = "server",
    settings: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
    folder: Path | None = None,
    clock: Clock | None = None,
) -> Loaded:
    """Load `plugin` with its `table`. `settings` are other keys of the configuration, whose file would be in `folder`;
    `files` are written there before. Raises what `vpnrs run` would end with: ConfigError, PluginError, a line for each
    failure. What is deprecated is warned of."""
    folder = Path(tempfile.mkdtemp(prefix="vpnrs-kit-")) if folder is None else folder
    for name, text in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    base = SERVER if role == "server" else CLIENT
    data = {**base, **(settings or {}), "plugins": {plugin: dict(table or {})}}
    configuration = from_data(data, folder / f"{role}.toml")
    contexts: dict[str, KitContext] = {}
    clock = clock or Clock()

    def context(name: str) -> KitContext:
        return contexts.setdefault(name, KitContext(name, configuration, clock))

    plugins = load_plugins(configuration, context)
    for line in plugins.warnings:
        warnings.warn(line, FutureWarning, stacklevel=2)
    (own,) = (each for each in plugins.loaded if each.name == plugin)
    return Loaded(own.plugin, contexts[plugin], plugins, configuration)
