"""`vpnrs log`: changes what a running instance logs, and how, until it ends."""

from __future__ import annotations

import click

from vpnrs_core.engine.local_client import LocalClient, choose_instance


@click.command()
@click.option("--instance", "name", metavar="NAME", help="Which instance; default: `default`, or the only one running.")
@click.option(
    "--level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least important lines shown from now on."
)
@click.option("--format", "style", type=click.Choice(["human", "json"]), help="How lines look from now on.")
def log(name: str | None, level: str | None, style: str | None) -> None:
    """Change what a running instance logs, and how. The configuration stays as it is.

    Without an option, say what is in force.

    Exit codes: 4 not allowed, 6 the instance does not answer, 7 not running."""
    with LocalClient(choose_instance(name), "control") as client:
        state = client.call("core.log", level=level, format=style)
    click.echo(f"level {state['level']}, format {state['format']}")
