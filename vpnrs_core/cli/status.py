"""`vpnrs status`: what a running instance does, as a table or as JSON, with an exit code to act on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from vpnrs_core.engine.local_client import LocalClient, NoPermission, choose_instance

NOT_CONNECTED = 3


@click.command()
@click.option("--instance", "name", metavar="NAME", help="Which instance; default: `default`, or the only one running.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, schema in docs/status.md.")
@click.option("--schema", is_flag=True, help="The JSON Schema of that object, whatever runs.")
@click.option("--watch", is_flag=True, help="Again and again, until interrupted; with --json one object a line.")
@click.option(
    "--every",
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(min=0.1, max=3600),
    help="How often --watch looks.",
)
def status(name: str | None, as_json: bool, schema: bool, watch: bool, every: float) -> None:
    """Show what a running instance does.

    Who may not ask for it all, being neither root nor of the group vpnrs, gets a summary without names and addresses.

    Exit codes: 0 up (a client: connected), 3 a client that is not connected, 6 the instance does not answer, 7 not
    running."""
    if schema:
        from vpnrs_core.engine.status import json_schema

        click.echo(json.dumps(json_schema(), indent=2))
        return
    instance = choose_instance(name)
    answer = _ask(instance)
    if watch:
        _watch(instance, answer, as_json, every)
    elif as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        from vpnrs_core.cli.status_table import parsed, show

        show(parsed(answer))
    if answer["role"] == "client" and answer["state"] != "connected":
        sys.exit(NOT_CONNECTED)


def _ask(instance: str) -> Mapping[str, Any]:
    """InstanceStatus, or for those who may not see it SummaryStatus, as JSON."""
    answer: Mapping[str, Any]
    try:
        with LocalClient(instance) as client:
            answer = client.call("core.status")
    except NoPermission as refused:
        try:
            with LocalClient(instance, "summary") as client:
                answer = client.call("core.summary")
        except NoPermission:
            raise refused from None
    return answer


def _watch(instance: str, answer: Mapping[str, Any], as_json: bool, every: float) -> None:
    """Until Ctrl-C, which is how it is meant to end."""
    from vpnrs_core.cli.status_table import live, parsed

    try:
        if as_json:
            _repeat(instance, answer, every, lambda found: click.echo(json.dumps(found)))
        else:
            with live() as show:
                _repeat(instance, answer, every, lambda found: show(parsed(found)))
    except KeyboardInterrupt:
        pass


def _repeat(instance: str, answer: Mapping[str, Any], every: float, show: Callable[[Mapping[str, Any]], None]) -> None:
    due = time.monotonic()
    while True:
        show(answer)
        due += every
        time.sleep(max(0.0, due - time.monotonic()))
        answer = _ask(instance)
