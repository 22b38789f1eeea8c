"""`vpnrs quota`: the accounts of a running server."""

from __future__ import annotations

from typing import Any

import click

from vpnrs_core.engine.local_client import LocalClient, choose_instance

instance_option = click.option("--instance", metavar="NAME", help="Which instance; default: the only one.")


@click.group()
def quota() -> None:
    """Show and reset what principals have used."""


@quota.command()
@click.option("--name", metavar="NAME", help="Only this principal.")
@instance_option
def show(name: str | None, instance: str | None) -> None:
    """List principals with what they have used and have left, in bytes."""
    _print("quota.show", instance, name=name)


@quota.command()
@click.argument("name")
@instance_option
def reset(name: str, instance: str | None) -> None:
    """Let the bytes of NAME begin again."""
    _print("quota.reset", instance, name=name)


def _print(request: str, instance: str | None, **fields: Any) -> None:
    with LocalClient(choose_instance(instance)) as client:
        answer = client.call(request, **fields)
    for row in answer["accounts"]:
        left = "unlimited" if row["left"] is None else f"{row['left']} left"
        again = "" if row["again_in"] is None else f", begins again in {row['again_in']:.0f} s"
        click.echo(f"{row['name']}  {row['used']} used, {left}{again}")
