"""`vpnrs run`: runs the role that a configuration names, in the foreground."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from vpnrs_core.cli.options import configuration_options, load_with
from vpnrs_core.config.checks import require
from vpnrs_core.config.models import Configuration
from vpnrs_core.plugins.choice import split_names


@click.command()
@configuration_options
@click.option("--log-format", type=click.Choice(["human", "json"]), help="Instead of [log] format.")
def run(
    config: str, names: Sequence[str], overrides: Sequence[str], instance: str | None, log_format: str | None
) -> None:
    """Run the server or client that CONFIG describes, until SIGTERM, SIGINT or `vpnrs stop`.

    Logs go to stderr. Exit codes: 0 stopped as asked, 2 configuration, 3 plugin, 4 this host, 5 refused by the
    server for good, 6 the peer broke the protocol."""
    configuration = load_with(config, overrides, instance, log_format)
    for finding in require(configuration):
        click.echo(f"vpnrs: warning: {finding.text}", err=True)
    from vpnrs_core.engine.run import run_instance

    def reread() -> Configuration:
        return load_with(config, overrides, instance, log_format)

    enable, block = split_names(names)
    sys.exit(run_instance(configuration, enable=enable, block=block, reread=reread))
