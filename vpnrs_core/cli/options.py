"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from vpnrs_core.config.load import load
from vpnrs_core.config.models import Configuration

F = TypeVar("F", bound=Callable[..., Any])


def configuration_options(command: F) -> F:
    """CONFIG, -p and --set, as `run` and `check` take them."""
    for decorate in (
        click.option(
            "--instance", metavar="NAME", help="Name of the instance, instead of the one in the configuration."
        ),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, as in tun.mtu=1400."
        ),
        click.option(
            "-p", "names", multiple=True, metavar="NAME", help="Load this plugin; no:NAME forbids to load it."
        ),
        click.argument("config", metavar="CONFIG"),
    ):
        command = decorate(command)
    return command


def load_with(
    config: str, overrides: Sequence[str], instance: str | None, log_format: str | None = None
) -> Configuration:
    """The configuration with what the command line says in its place."""
    extra = [f"instance={_quoted(instance)}"] if instance is not None else []
    extra += [f"log.format={_quoted(log_format)}"] if log_format is not None else []
    return load(config, [*overrides, *extra])


def _quoted(text: str) -> str:
    import json

    return json.dumps(text)
