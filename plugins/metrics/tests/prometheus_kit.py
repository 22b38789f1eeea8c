"""Debian's prometheus and promtool, as `make test` puts them beside the interpreter, and what tests ask them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def tool(name: str) -> str:
    """Where promtool or prometheus is; skips the test where there is none."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here; `make test` takes it out of Debian's package")
    return found


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("promtool"), *arguments], input=stdin, capture_output=True, text=True, timeout=60)


def expressions(dashboard: str) -> dict[str, list[str]]:
    """title → queries of a dashboard as Grafana imports it, with Grafana's variables filled in."""
    return {
        panel["title"]: [
            target["expr"].replace("$__rate_interval", "20s").replace("$instance", ".*") for target in panel["targets"]
        ]
        for panel in json.loads(dashboard)["panels"]
    }
