"""`vpnrs plugins list`: what is installed, and in which state."""

from __future__ import annotations

import click


@click.command("list")
@click.argument("config", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, schema in docs/status.md.")
def list_plugins(config: str | None, as_json: bool) -> None:
    """List installed plugins, from their metadata. With CONFIG, the plugins that it names are imported and judged."""
    from vpnrs_core.config.load import load
    from vpnrs_core.plugins.report import report

    result = report(load(config) if config else None)
    if as_json:
        click.echo(result.model_dump_json(indent=2))
        return
    width = max(len(row.name) for row in result.plugins)
    for row in result.plugins:
        problem = f" ({row.problem})" if row.problem else ""
        click.echo(f"{row.name:<{width}}  {row.version:<10} {row.state:<12} {row.summary}{problem}".rstrip())
