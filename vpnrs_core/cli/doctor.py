"""`vpnrs doctor`: what this host lacks, and the command that mends it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from vpnrs_core.cli.check import findings_of
from vpnrs_core.config.load import load
from vpnrs_core.engine.local_client import LocalClient, choose_instance
from vpnrs_core.engine.run import plan_of
from vpnrs_core.errors import HostError
from vpnrs_core.host.doctor import Diagnosis, examine
from vpnrs_core.host.facts import gather
from vpnrs_core.host.preflight import Plan


@click.command()
@click.argument("config", metavar="[CONFIG]", required=False)
@click.option("--live", is_flag=True, help="Why does traffic not flow: walk the path of an instance that runs.")
@click.option("--instance", "name", metavar="NAME", help="Which one; default: `default`, or the only one running.")
@click.option("--fix", is_flag=True, help="Do what is safe: undo what a crash left, load the TUN driver.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list instead of lines.")
def doctor(config: str | None, live: bool, name: str | None, fix: bool, as_json: bool) -> None:
    """Say what this host lacks: for any tunnel, or for what CONFIG describes.

    Looks at the TUN device, capabilities, forwarding, rp_filter, MTU, offloads, buffers, the firewall, the DNS tool and
    what crashed instances left; each with the command that mends it. Nothing is changed without --fix.

    With --live it asks an instance that runs: its TUN, session, link, addresses, routes, the other side through the
    tunnel, forwarding, DNS, drops, and ends at the first thing that is wrong.

    Exit codes: 0 nothing keeps vpnrs from working (there may be warnings), 4 something does, 6 the instance does not
    answer, 7 not running."""
    if live:
        found = _walk(name)
    else:
        found = diagnose(config)
        if fix:
            found = _mended(found) or diagnose(config)
    if as_json:
        keys = ("level", "topic", "text", "remedy")
        click.echo(json.dumps([{key: getattr(each, key) for key in keys} for each in found], indent=2))
    else:
        for each in found:
            click.echo(f"{each.level + ':':9}{each.text}")
            if each.remedy:
                click.echo(f"{'':9}→ {each.remedy}")
    if any(each.level == "error" for each in found):
        sys.exit(HostError.exit_code)


def _walk(name: str | None) -> list[Diagnosis]:
    """What the instance says of its own path."""
    with LocalClient(choose_instance(name)) as client:
        steps = client.call("core.walk")["steps"]
    return [Diagnosis(step["level"], step["name"], f"{step['name']}: {step['text']}", step["remedy"]) for step in steps]


def diagnose(config: str | None) -> list[Diagnosis]:
    """Of the host, and with a configuration of that as well. Raises ConfigError, HostError."""
    if config is None:
        return examine(gather(), Plan())
    configuration = load(config, [])
    said = [Diagnosis(finding.level, "configuration", finding.text) for finding in findings_of(configuration)]
    return said + examine(gather(), plan_of(configuration))


def _mended(found: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Mend what can be → nothing, or what failed."""
    failed = []
    for each in found:
        if each.mend is None:
            continue
        try:
            each.mend()
            click.echo(f"mended: {each.text}", err=True)
        except HostError as error:
            failed.append(Diagnosis("error", each.topic, str(error), each.remedy))
    return failed
