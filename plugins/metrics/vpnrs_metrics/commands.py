"""`vpnrs metrics`: what the endpoint of a running instance says, and the files for Grafana and Prometheus."""

from __future__ import annotations

from importlib.resources import files

import click

from vpnrs_core.engine.local_client import LocalClient, choose_instance


@click.group()
def metrics() -> None:
    """Metrics of a running instance, and the files to watch it with."""


@metrics.command()
@click.option("--instance", "name", metavar="NAME", help="Which instance; default: `default`, or the only one running.")
def show(name: str | None) -> None:
    """Print what a scraper would get, in OpenMetrics text."""
    with LocalClient(choose_instance(name)) as client:
        click.echo(client.call("metrics.show")["text"], nl=False)


@metrics.command()
def dashboard() -> None:
    """Print a Grafana dashboard (JSON) to import there."""
    click.echo(packaged("dashboard.json"), nl=False)


@metrics.command()
def alerts() -> None:
    """Print alert rules (YAML) for Prometheus' `rule_files`."""
    click.echo(packaged("alerts.yml"), nl=False)


def packaged(name: str) -> str:
    """A file of this package."""
    return files("vpnrs_metrics").joinpath(name).read_text()
