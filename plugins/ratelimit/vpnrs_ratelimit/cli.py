"""`vpnrs ratelimit`: who is blocked at a running server, and letting them in again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from vpnrs_core.engine.local_client import LocalClient, choose_instance
from vpnrs_core.errors import ConfigError

_instance = click.option("--instance", metavar="NAME", help="Which instance; default: `default`, or the only one.")
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group()
def ratelimit() -> None:
    """Show and lift the blocks of a running server."""


@ratelimit.command()
@_instance
@_json
def status(instance: str | None, as_json: bool) -> None:
    """Who is blocked and for how long, who fails most, and what was counted."""
    with LocalClient(choose_instance(instance)) as client:
        answer = client.call("ratelimit.status")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    if answer["observe_only"]:
        click.echo("observe_only is set: nobody is refused")
    if not answer["store_works"]:
        click.echo(f"the store does not answer; attempts meanwhile: {answer['when_store_fails']}")
    for tier in answer["tiers"]:
        click.echo(
            f"{tier['tier']}: {tier['most']} within {tier['window']:g} s block for {tier['block']:g} s, "
            f"tracked: {tier['tracked']}"
        )
    _table(answer["blocks"], ("tier", "who", "seconds_left", "level"), "no block is active")
    if (more := answer["active_blocks"] - len(answer["blocks"])) > 0:
        click.echo(f"and {more} more")
    _table(answer["top_failing"], ("fingerprint", "failures"), "no credential has failed lately")
    click.echo(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in answer["figures"].items()))


@ratelimit.command()
@click.argument("who", required=False)
@click.option("--all", "everyone", is_flag=True, help="Lift every block.")
@_instance
@_json
def unblock(who: str | None, everyone: bool, instance: str | None, as_json: bool) -> None:
    """Let WHO in again: a fingerprint, an address or prefix, a principal, or global, as `status` shows them."""
    if (who is None) == (not everyone):
        raise ConfigError("vpnrs ratelimit unblock: give either WHO or --all; `vpnrs ratelimit status` shows who is")
    request = {"everyone": True} if everyone else {"who": who}
    with LocalClient(choose_instance(instance), "control") as client:
        answer = client.call("ratelimit.unblock", **request)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    for block in answer["unblocked"]:
        who = block["who"] if block["who"] == block["tier"] else f"{block['tier']} {block['who']}"
        click.echo(f"Unblocked {who}, {block['seconds_left']:g} s before its time.")
    if (more := answer["lifted"] - len(answer["unblocked"])) > 0:
        click.echo(f"Unblocked {more} more.")
    if not answer["lifted"]:
        click.echo("Nobody was blocked.")


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], none: str) -> None:
    if not rows:
        click.echo(none)
        return
    lines = [[column.upper().replace("_", " ") for column in columns]]
    lines += [[str(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
