"""`vpnrs nat64`: bindings, sessions and figures of a running server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from vpnrs_core.engine.local_client import LocalClient, choose_instance

# As many rows as an answer may have.
PAGE = 100
F = TypeVar("F", bound=Callable[..., Any])


def _common(command: F) -> F:
    instance = click.option("--instance", metavar="NAME", help="Which instance; default: `default`, or the only one.")
    as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object, its fields in docs/nat64.md.")
    return instance(as_json(command))


def _choosing(command: F) -> F:
    for decorate in (
        click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="At most so many."),
        click.option("--protocol", type=click.Choice(["tcp", "udp", "icmp"]), help="Only of this protocol."),
        click.option("--session", metavar="ID", help="Only of this session, as `vpnrs status` names it."),
    ):
        command = decorate(command)
    return _common(command)


@click.group()
def nat64() -> None:
    """Show what the NAT64 of a running server does."""


@nat64.command()
@_choosing
def bindings(instance: str | None, as_json: bool, limit: int, **chosen: Any) -> None:
    """Which IPv4 port or echo id belongs to which client's."""
    answer = _ask(instance, "bindings", limit, chosen)
    _show(answer, "bindings", ("protocol", "inner", "outer", "principal", "sessions"), as_json)


@nat64.command()
@_choosing
def sessions(instance: str | None, as_json: bool, limit: int, **chosen: Any) -> None:
    """Which client talks to which IPv4 host, and for how long this is remembered."""
    answer = _ask(instance, "sessions", limit, chosen)
    columns = ("protocol", "inner", "outer", "remote", "principal", "state", "expires_in")
    _show(answer, "sessions", columns, as_json)


@nat64.command()
@_common
def stats(instance: str | None, as_json: bool) -> None:
    """How much there is of what, and what dropped packets."""
    with LocalClient(choose_instance(instance)) as client:
        answer = client.call("nat64.stats")
        drops = client.call("core.status")["drops"]
    answer["drops"] = {reason: count for reason, count in drops.items() if reason.startswith("nat64.")}
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"prefix {answer['prefix']}, clients: {answer['clients']}, fragmented packets: {answer['fragments']}")
    rows = [
        {"protocol": name, **{what: str(answer[what][name]) for what in ("bindings", "sessions", "created", "expired")}}
        for name in answer["bindings"]
    ]
    _table(rows, ("protocol", "bindings", "sessions", "created", "expired"))
    click.echo(f"limits: {answer['max_bindings']} bindings, {answer['max_sessions']} sessions")
    for source in answer["sources"]:
        used = ", ".join(f"{count} {name}" for name, count in source["used"].items())
        click.echo(f"source {source['address']}: ports in use: {used}")
    for reason, count in answer["drops"].items():
        click.echo(f"dropped: {count} {reason}")


def _ask(instance: str | None, what: str, limit: int, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Page after page, for an answer takes the server's time: → the last one, with the rows of all."""
    asked = {key: value for key, value in chosen.items() if value is not None}
    rows: list[Any] = []
    skip: int | None = 0
    with LocalClient(choose_instance(instance)) as client:
        while skip is not None:
            size = min(PAGE, limit - len(rows))
            answer: dict[str, Any] = client.call(f"nat64.{what}", **asked, skip=skip, limit=size)
            rows += answer[what]
            skip = answer.pop("next") if len(rows) < limit else None
    return {"total": answer["total"], what: rows}


def _show(answer: Any, key: str, columns: Sequence[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    rows = [{column: str(row[column]) for column in columns} for row in answer[key]]
    _table(rows, columns)
    click.echo(f"{len(rows)} of {answer['total']} {key}")


def _table(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    widths = {column: max([len(column), *(len(row[column]) for row in rows)]) for column in columns}
    for row in ({column: column.upper().replace("_", " ") for column in columns}, *rows):
        click.echo("  ".join(row[column].ljust(widths[column]) for column in columns).rstrip())
