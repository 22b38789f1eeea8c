"""Runs tests of a plugin with pytest in a process of its own, and reads what came of them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from vpnrs_core.plugins.verdict import Tables

MINUTES = 10
# Read by vpnrs_core.testkit.contract, which a running part never imports.
VARIABLE = "VPNRS_CONTRACT"
CONTRACT = "vpnrs_core.testkit.contract"
KIT = "vpnrs_core.testkit"


@dataclass(frozen=True)
class Outcome:
    """`failures` and `skips` are (test, why). `broken` is what pytest said when it could not run."""

    passed: int
    failures: Sequence[tuple[str, str]]
    skips: Sequence[tuple[str, str]]
    broken: str = ""


def can_run() -> bool:
    return importlib.util.find_spec("pytest") is not None


def run_contract(plugin: str, tables: Tables, path: Sequence[Path]) -> Outcome:
    """The contract suites of an installed plugin; `path` comes first on the import path."""
    with tempfile.TemporaryDirectory(prefix="vpnrs-check-") as folder:
        arguments = ["-p", KIT, "--rootdir", folder, "-c", os.devnull, "--pyargs", CONTRACT]
        asked = {"plugin": plugin, "table": tables.server, "client_table": tables.client}
        # The kit is all that the suites need, and none of this environment's pytest plugins may change their outcome.
        environment = {VARIABLE: json.dumps(asked), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return _run(arguments, Path(folder), path, environment)


def run_project(project: Path, path: Sequence[Path]) -> Outcome:
    """The project's own tests."""
    return _run([], project, path, {})


def _run(arguments: Sequence[str], where: Path, path: Sequence[Path], more: Mapping[str, str]) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="vpnrs-check-") as folder:
        report = Path(folder) / "report.xml"
        imports = os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
        environment = {**os.environ, "PYTHONPATH": imports, "PYTHONDONTWRITEBYTECODE": "1", **more}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
        try:
            ran = subprocess.run(
                command, cwd=where, env=environment, capture_output=True, text=True, timeout=60 * MINUTES
            )
        except subprocess.TimeoutExpired:
            return Outcome(0, (), (), f"did not end within {MINUTES} minutes")
        if not report.exists():
            said = (ran.stderr or ran.stdout).strip().splitlines()
            return Outcome(0, (), (), said[-1] if said else f"pytest ended with {ran.returncode}")
        return _read(report)


def _read(report: Path) -> Outcome:
    passed, failures, skips = 0, [], []
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}".removeprefix(".")
        bad = [found for found in case if found.tag in ("failure", "error")]
        skipped = case.find("skipped")
        if bad:
            failures.append((name, _line(bad[0].get("message") or bad[0].text or "")))
        elif skipped is not None:
            skips.append((name, _line(skipped.get("message") or "")))
        else:
            passed += 1
    return Outcome(passed, failures, skips)


def _line(text: str) -> str:
    """The first line, as short as one is read."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first if len(first) <= 200 else first[:199] + "…"
