"""Writes docs/configuration.md from the configuration's models, docs/cli.md from the commands' own help, and the schema
of `vpnrs status --json` from its models.

python docs/generate.py; a test holds the committed files equal to what this writes."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
import pydantic
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from vpnrs_auth_token import plugin as auth_token
from vpnrs_auth_token.commands import token
from vpnrs_auth_token.config import TokenConfig
from vpnrs_metrics.commands import metrics
from vpnrs_metrics.config import MetricsConfig
from vpnrs_nat64 import plugin as nat64
from vpnrs_ratelimit import plugin as ratelimit_plugin
from vpnrs_ratelimit.cli import ratelimit
from vpnrs_ratelimit.config import RateLimitConfig
from vpnrs_trace.commands import trace
from vpnrs_trace.config import TraceConfig

from vpnrs_core.cli import cli
from vpnrs_core.config.models import ClientConfig, ServerConfig
from vpnrs_core.config.secret import Secret
from vpnrs_core.config.tables import InstanceConfig
from vpnrs_core.counters import CORE_REASONS
from vpnrs_core.engine.logs import level_of_type
from vpnrs_core.engine.status import json_schema
from vpnrs_core.engine.tally import core_events, name_of
from vpnrs_core.events import Event

PLUGINS = {
    "auth_token": auth_token.Plugin,
    "nat64": nat64.Plugin,
    "ratelimit": ratelimit_plugin.Plugin,
}
FOLDER = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py. Change the models or the commands, not this file. -->\n"
WIDTH = 100

WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
    Secret: '`{file = "…"}` or `{env = "…"}`',
    IPv4Address: "IPv4 address",
    IPv6Address: "IPv6 address",
    IPv4Network: "IPv4 prefix",
    IPv6Network: "IPv6 prefix",
}
EITHER = {
    frozenset({IPv4Address, IPv6Address}): "address",
    frozenset({IPv4Network, IPv6Network}): "prefix",
}

CONFIGURATION = """# Configuration

One TOML file an instance; `vpnrs init DIR` writes a server's and a client's that connect as they are. The file begins
with `role = "server"` or `role = "client"`. Unknown keys are errors that name the nearest key. Paths are relative to
the folder of the file. `vpnrs check FILE` says what is wrong without starting; `--set tun.mtu=1400` overrides a key for
one run.
"""
EVENTS = """# Events and drop reasons

The log is these events, as text or as JSON lines; `vpnrs_events_total{event="…"}` counts them, and subscribers get them
as objects. Names and fields are stable: one may be added, none changes its meaning. Every event has the time, `at`.
`vpnrs_dropped_packets_total{reason="…"}` counts packets that went no further, `vpnrs status` shows them for each
session, and `vpnrs trace` the packets themselves.
"""
CLI = """# Commands

Errors are lines on stderr that begin with `vpnrs:`, and an exit code: 2 configuration or command line, 3 plugin, 4 this
host, 5 refused by the server for good, 6 the peer, 7 not running, 1 anything else. `VPNRS_DEBUG=1` adds the traceback.
What `vpnrs status --json` and `vpnrs plugins list --json` print is in [status.md](status.md).
"""


def configuration() -> str:
    """docs/configuration.md."""
    common = set(InstanceConfig.model_fields)
    parts = [
        NOTE,
        CONFIGURATION,
        "## Server and client\n",
        *tables(InstanceConfig, keep=common),
        "## Server\n",
        *tables(ServerConfig, keep=set(ServerConfig.model_fields) - common),
        "## Client\n",
        *tables(ClientConfig, keep=set(ClientConfig.model_fields) - common),
        "## Plugins\n\nA table `[plugins.NAME]` turns a plugin on.\n",
        *tables(TokenConfig, ("plugins", "auth_token")),
        *tables(MetricsConfig, ("plugins", "metrics")),
        *tables(RateLimitConfig, ("plugins", "ratelimit")),
        *tables(TraceConfig, ("plugins", "trace")),
    ]
    return "\n".join(parts)


def tables(model: type[pydantic.BaseModel], path: tuple[str, ...] = (), keep: set[str] | None = None) -> Iterator[str]:
    """One Markdown table for each TOML table, the model's own first."""
    inner: list[tuple[tuple[str, ...], type[pydantic.BaseModel]]] = []
    rows = []
    for name, field in model.model_fields.items():
        if keep is not None and name not in keep:
            continue
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, pydantic.BaseModel) and nested is not Secret:
            inner.append(((*path, name), nested))
        else:
            rows.append(f"| `{name}` | {kind(field)} | {default(field)} | {cell(field.description or '')} |")
    if rows:
        title = f"`[{'.'.join(path)}]`" if path else "Top of the file"
        yield f"### {title}\n\n| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for where, nested in inner:
        yield from tables(nested, where)


def kind(field: FieldInfo) -> str:
    """The field's type and bounds in words."""
    words = [in_words(field.annotation)]
    low = next(
        (f"≥ {m.ge}" if isinstance(m, Ge) else f"> {m.gt}" for m in field.metadata if isinstance(m, Ge | Gt)), ""
    )
    high = next(
        (f"≤ {m.le}" if isinstance(m, Le) else f"< {m.lt}" for m in field.metadata if isinstance(m, Le | Lt)), ""
    )
    words += filter(None, (low, high))
    if any(isinstance(m, MinLen) for m in field.metadata):
        words.append("not empty")
    return cell(", ".join(words))


def in_words(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return in_words(inner[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        kinds = [part for part in inner if part is not type(None)]
        return EITHER.get(frozenset(kinds)) or " or ".join(in_words(part) for part in kinds)
    if origin is tuple:
        return f"list: {in_words(inner[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "table" if inner[1] is Any else f"table: {in_words(inner[1])}"
    return WORDS[annotation]


def default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Mapping):
        return "`{}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def commands() -> str:
    """docs/cli.md: the core's commands, then those of this repository's plugins, whatever else is installed."""
    # With the settings of a real run: a command keeps the help option of the first context that asks it.
    root = click.Context(cli, info_name="vpnrs", terminal_width=WIDTH, max_content_width=WIDTH, **cli.context_settings)
    offered, cli._plugins = cli._plugins, False
    try:
        parts = [NOTE, CLI, *helps(cli, root)]
    finally:
        cli._plugins = offered
    for plugin, group in (("auth_token", token), ("metrics", metrics), ("ratelimit", ratelimit), ("trace", trace)):
        context = click.Context(group, info_name=group.name, parent=root)
        parts += [f"## Of the plugin {plugin}\n", *helps(group, context)]
    return "\n".join(parts)


def helps(command: click.Command, context: click.Context) -> Iterator[str]:
    """The help of a command, then of those below it."""
    command._help_option = None  # a command keeps that of whoever asked for its help first
    yield f"### {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from helps(below, click.Context(below, info_name=name, parent=context))


def schema() -> str:
    """docs/status.schema.json."""
    return json.dumps(json_schema(), indent=2) + "\n"


def events() -> str:
    """docs/events.md: events and drop reasons of the core and of this repository's plugins."""
    owners: list[tuple[str, Iterable[type[Event]], Mapping[str, str]]] = [("The core", core_events(), CORE_REASONS)]
    for name, plugin in sorted(PLUGINS.items()):
        told, reasons = getattr(plugin, "EVENTS", ()), getattr(plugin, "DROP_REASONS", {})
        if told or reasons:
            owners.append((f"The plugin {name}", told, {f"{name}.{reason}": reasons[reason] for reason in reasons}))
    parts = [NOTE, EVENTS]
    for title, told, reasons in owners:
        parts.append(f"## {title}\n")
        if told:
            rows = [f"| `{name_of(each)}` | {_level(each)} | {_fields(each)} | {_meaning(each)} |" for each in told]
            parts.append("| event | level | fields | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n")
        if reasons:
            rows = [f"| `{reason}` | {cell(text)} |" for reason, text in reasons.items()]
            parts.append("| drop reason | meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _level(event: type[Event]) -> str:
    return logging.getLevelName(level_of_type(event)).lower()


def _fields(event: type[Event]) -> str:
    return ", ".join(f"`{field.name}`" for field in dataclasses.fields(event) if field.name != "at")


def _meaning(event: type[Event]) -> str:
    """The docstring on one line. A dataclass without one has its signature there, which tells nobody anything."""
    text = inspect.cleandoc(event.__doc__ or "")
    if text.startswith(f"{event.__name__}("):
        raise SystemExit(f"{event.__name__} needs a docstring that says what it means")
    return cell(text)


sys.path.insert(0, str(FOLDER))
import authors  # noqa: E402  beside this file, which is not a package

FILES = {
    "events.md": events,
    "configuration.md": configuration,
    "cli.md": commands,
    "status.schema.json": schema,
    **authors.FILES,
}

if __name__ == "__main__":
    for name, make in FILES.items():
        (FOLDER / name).write_text(make())
