"""`vpnrs check`: everything that can be known to be wrong with a configuration without starting."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from vpnrs_core.cli.options import configuration_options, load_with
from vpnrs_core.config.checks import check as check_configuration
from vpnrs_core.config.models import Configuration
from vpnrs_core.errors import ConfigError, VpnrsError
from vpnrs_core.interfaces import Finding
from vpnrs_core.plugins.choice import split_names
from vpnrs_core.plugins.dry_context import dry_contexts
from vpnrs_core.plugins.hooks import findings_of as told
from vpnrs_core.plugins.load import load_plugins
from vpnrs_core.plugins.selection import select


@click.command()
@configuration_options
def check(config: str, names: Sequence[str], overrides: Sequence[str], instance: str | None) -> None:
    """Say everything that can be known to be wrong with CONFIG without starting it.

    Loads the plugins that it names. Exit codes: 0 nothing is wrong (there may be warnings), 2 something is."""
    configuration = load_with(config, overrides, instance)
    findings = findings_of(configuration, names)
    for finding in findings:
        click.echo(f"{finding.level}: {finding.text}", err=finding.level == "error")
    if any(finding.level == "error" for finding in findings):
        sys.exit(ConfigError.exit_code)
    click.echo(f"{config}: a {configuration.role}, nothing is wrong")


def findings_of(configuration: Configuration, names: Sequence[str] = ()) -> list[Finding]:
    """The core's findings, then those of the plugins; what keeps plugins from loading is one of them."""
    findings = check_configuration(configuration)
    enable, block = split_names(names)
    try:
        plugins = load_plugins(configuration, dry_contexts(configuration), enable=enable, block=block)
        findings += [Finding("warning", line) for line in plugins.warnings]
        select(configuration, plugins.registry)
        findings += told(plugins.manager, configuration)
    except VpnrsError as error:
        findings += [Finding("error", line) for line in str(error).splitlines()]
    return _without_repetition(configuration, findings)


def _without_repetition(configuration: Configuration, findings: list[Finding]) -> list[Finding]:
    """The allocator refuses, in its own words, what the checks of its table have said already."""
    table = f"{configuration.where}: [addresses]"
    told = any(finding.level == "error" and finding.text.startswith(f"{table} ") for finding in findings)
    return list(dict.fromkeys(f for f in findings if not (told and f.text.startswith(f"{table}:"))))
