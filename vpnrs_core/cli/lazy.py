"""Command groups whose commands are imported only when invoked, built-in ones and those of plugins."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

import click

from vpnrs_core.errors import PluginError

COMMANDS_GROUP = "vpnrs.commands"


class LazyCommand(NamedTuple):
    """`target` is module:attribute, `help` the line that the list of commands shows."""

    target: str
    help: str


class LazyGroup(click.Group):
    """A group of `lazy` commands, and, with `plugins`, of those that plugins add. Listing them imports none."""

    def __init__(
        self, *args: Any, lazy: Mapping[str, LazyCommand] | None = None, plugins: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        # A command whose module is not part of this installation is not offered.
        self._lazy = {name: command for name, command in (lazy or {}).items() if _exists(command.target)}
        self._plugins = plugins

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._lazy, *sorted(self._offered())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._lazy:
            return _imported(self._lazy[cmd_name].target)
        entry_point = self._offered().get(cmd_name)
        return _of_plugin(entry_point) if entry_point else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest command in the error."""
        name = args[0] if args else ""
        if args and not name.startswith("-") and self.get_command(ctx, name) is None:
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"did you mean {close[0]}?" if close else f"`{ctx.command_path} --help` lists them"
            ctx.fail(f"there is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, command.help) for name, command in self._lazy.items()]
        added = [(name, _summary(entry_point)) for name, entry_point in sorted(self._offered().items())]
        for title, lines in (("Commands", rows), ("Commands of installed plugins", added)):
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)

    def _offered(self) -> dict[str, EntryPoint]:
        """Plugins' commands by name; a built-in command is never replaced."""
        if not self._plugins:
            return {}
        return {ep.name: ep for ep in entry_points(group=COMMANDS_GROUP) if ep.name not in self._lazy}


def _exists(target: str) -> bool:
    return importlib.util.find_spec(target.partition(":")[0]) is not None


def _imported(target: str) -> click.Command:
    module, _, attribute = target.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


def _of_plugin(entry_point: EntryPoint) -> click.Command:
    try:
        command = entry_point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"command {entry_point.name} ({entry_point.value}): import: {_text(error)}") from error
    if not isinstance(command, click.Command):
        raise PluginError(f"command {entry_point.name} ({entry_point.value}): is {command!r}, not a click command")
    return command


def _text(error: BaseException) -> str:
    from vpnrs_core.plugins.failure import describe

    return describe(error)


def _summary(entry_point: EntryPoint) -> str:
    distribution = entry_point.dist
    return (distribution.metadata["Summary"] or "") if distribution else ""
