"""`vpnrs plugins new`: a plugin's project that works at once, to be changed."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from vpnrs_core.plugins.discover import discover
from vpnrs_core.plugins.kinds import BY_WORD
from vpnrs_core.scaffold.render import project
from vpnrs_core.scaffold.write import write


@click.command("new")
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(list(BY_WORD)), help="What it is to be.")
@click.option("--into", metavar="DIR", default=".", help="Where its folder is made; default: here.")
def new_plugin(name: str, kind: str, into: str) -> None:
    """Write a complete small plugin: package, configuration model, tests with the contract suite, README.

    NAME is what [plugins.NAME] and -p take, as in rate_limit."""
    made = project(name, kind)
    folder = write(made, Path(into))
    click.echo(f"wrote {len(made.files)} files into {folder}, a plugin that {BY_WORD[kind].what}")
    if name in discover():
        click.echo(f"a plugin called {name} is installed already: only one of both can be used at a time")
    click.echo("next:")
    click.echo(f"  cd {shlex.quote(str(folder))}")
    click.echo("  pip install -e '.[test]'")
    click.echo("  pytest")
    click.echo("  vpnrs plugins check .")
