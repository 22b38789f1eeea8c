"""`vpnrs reload`: has a running instance read its configuration anew."""

from __future__ import annotations

import json

import click

from vpnrs_core.engine.local_client import LocalClient, choose_instance


@click.command()
@click.option("--instance", "name", metavar="NAME", help="Which instance; default: `default`, or the only one running.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def reload(name: str | None, as_json: bool) -> None:
    """Have a running instance read its configuration anew. Sessions stay.

    Says what has changed: what is in force now, and what needs a restart. A configuration that is wrong changes
    nothing. Exit codes: 0 read, 2 the configuration is wrong, 4 not allowed, 6 the instance does not answer, 7 not
    running."""
    with LocalClient(choose_instance(name), "control", timeout=30.0) as client:
        answer = client.call("core.reload")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    for text in answer["warnings"]:
        click.echo(f"warning: {text}", err=True)
    for title, key in (("applied", "applied"), ("needs a restart", "needs_restart")):
        for text in answer[key]:
            click.echo(f"{title}: {text}")
    if not (answer["applied"] or answer["needs_restart"]):
        click.echo("nothing has changed")
