"""`vpnrs plugins`: what is installed, and in which state; new ones, and whether one keeps the contract."""

from __future__ import annotations

import click

from vpnrs_core.cli.lazy import LazyCommand, LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "list": LazyCommand("vpnrs_core.cli.plugins_list:list_plugins", "List installed plugins and their states."),
        "new": LazyCommand("vpnrs_core.cli.plugins_new:new_plugin", "Write a complete small plugin, to be changed."),
        "check": LazyCommand("vpnrs_core.cli.plugins_check:check_plugin", "Hold a plugin against the contract."),
    },
)
def plugins() -> None:
    """List plugins, begin one, check one."""
