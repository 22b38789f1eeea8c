"""`vpnrs plugins check`: one plugin, installed or not yet, held against the contract."""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import click

from vpnrs_core.errors import ConfigError, PluginError
from vpnrs_core.hookspecs import HOOK_API
from vpnrs_core.plugins.choice import missing_hint
from vpnrs_core.plugins.discover import GROUP, Installed, discover
from vpnrs_core.plugins.project import of_project, on_path
from vpnrs_core.plugins.suite_run import Outcome, can_run, run_contract, run_project
from vpnrs_core.plugins.verdict import Tables, Verdict, judge


@click.command("check")
@click.argument("target", metavar="NAME|PATH")
@click.option(
    "--set",
    "values",
    multiple=True,
    metavar="KEY=VALUE",
    help="A key of the plugin's table, as in prefix=64:ff9b::/96.",
)
@click.option(
    "--client-set",
    "client_values",
    multiple=True,
    metavar="KEY=VALUE",
    help="A key of its table at a client, where that is another one.",
)
@click.option("--no-tests", is_flag=True, help="Run neither the contract suites nor the project's own tests.")
def check_plugin(target: str, values: Sequence[str], client_values: Sequence[str], no_tests: bool) -> None:
    """Hold a plugin against the contract: NAME of an installed one, or PATH of a project's folder or a wheel.

    Looks at metadata, range of the core, import, hooks, configuration model, what it registers and its commands, then
    runs the contract suite of each kind, and a project's own tests. Nothing of it is started. Exit codes: 0 it keeps
    the contract, 3 it does not."""
    tables = Tables(_table("--set", values), _table("--client-set", client_values) if client_values else None)
    with _found(target) as (plugin, path, project):
        verdict = judge(plugin, tables)
        if not no_tests and verdict.good:
            _test(verdict, plugin, tables, path, project)
    _print(verdict)
    if not verdict.good:
        sys.exit(PluginError.exit_code)


def _table(option: str, values: Sequence[str]) -> Mapping[str, Any]:
    """Values in TOML's syntax, else text."""
    table: dict[str, Any] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{option} {text}: is not KEY=VALUE")
        try:
            table[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            table[key.strip()] = value
    return table


@contextmanager
def _found(target: str) -> Iterator[tuple[Installed, Sequence[Path], Path | None]]:
    """The plugin, what comes first on the import path for it, and its project's folder."""
    where = Path(target)
    if not where.exists() and "/" not in target:
        installed = discover()
        if target not in installed:
            raise PluginError(f"plugin {target} is not installed; {missing_hint(target, installed)}")
        yield installed[target], (), None
    elif where.suffix == ".whl":
        with on_path(where.resolve()):
            names = [
                e.name for d in distributions(path=[str(where.resolve())]) for e in d.entry_points.select(group=GROUP)
            ]
            if not names:
                raise ConfigError(f"{where}: has no entry point in the group {GROUP}")
            yield discover()[names[0]], (where.resolve(),), None
    else:
        with tempfile.TemporaryDirectory(prefix="vpnrs-check-") as folder:
            project = where.resolve()
            name = of_project(project, Path(folder))
            code = project / "src" if (project / "src").is_dir() else project
            with on_path(Path(folder), code):
                yield discover()[name], (Path(folder), code), project


def _test(verdict: Verdict, plugin: Installed, tables: Tables, path: Sequence[Path], project: Path | None) -> None:
    if not can_run():
        verdict.add("contract", "skipped", "pytest is not installed; `pip install 'vpnrs-core[testkit]'`")
        return
    _tell(verdict, "contract", run_contract(plugin.name, tables, path))
    if project is not None and any(project.glob("tests/test_*.py")):
        _tell(verdict, "tests", run_project(project, path))


def _tell(verdict: Verdict, what: str, outcome: Outcome) -> None:
    if outcome.broken:
        verdict.add(what, "failed", outcome.broken)
    for test, why in outcome.failures:
        verdict.add(what, "failed", f"{test}: {why}")
    for why in dict.fromkeys(why for _, why in outcome.skips):
        verdict.add(what, "skipped", f"{sum(w == why for _, w in outcome.skips)} tests: {why}")
    if outcome.passed and not outcome.failures:
        verdict.add(what, "ok", f"{outcome.passed} promises kept" if what == "contract" else f"{outcome.passed} passed")


def _print(verdict: Verdict) -> None:
    for step in verdict.steps:
        click.echo(f"{step.state:<8} {step.what:<14} {step.text}".rstrip())
    failed = sum(step.state == "failed" for step in verdict.steps)
    if failed:
        click.echo(f"{verdict.plugin}: breaks the contract {HOOK_API} in {failed} places")
    elif any(step.state == "skipped" for step in verdict.steps):
        click.echo(f"{verdict.plugin}: keeps what was checked of the contract {HOOK_API}; some was not")
    else:
        click.echo(f"{verdict.plugin}: keeps the contract {HOOK_API}")
