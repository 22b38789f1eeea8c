"""`vpnrs status`: what a running instance does, as a table or as JSON, with an exit code to act on."""

from __future__ import annotations

import sys

import click

from vpnrs_core.engine.local_client import LocalClient, choose_instance

NOT_CONNECTED = 3


@click.command()
@click.option("--instance", "name", metavar="NAME", help="Which instance; default: `default`, or the only one running.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, schema in docs/status.md.")
def status(name: str | None, as_json: bool) -> None:
    """Show what a running instance does.

    Exit codes: 0 up (a client: connected), 3 a client that is not connected, 4 not allowed to ask, 6 the instance
    does not answer, 7 not running."""
    with LocalClient(choose_instance(name)) as client:
        answer = client.call("core.status")
    if as_json:
        import json

        click.echo(json.dumps(answer, indent=2))
    else:
        from vpnrs_core.cli.status_table import show
        from vpnrs_core.engine.status import InstanceStatus

        show(InstanceStatus.model_validate(answer))
    if answer["role"] == "client" and answer["state"] != "connected":
        sys.exit(NOT_CONNECTED)
