"""Every plugin of this repository passes the suites of what it registers, whatever its own tests look at."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vpnrs_core.testkit.contract import classes

ROOT = Path(__file__).parents[3]
# What a plugin's table must hold; one with `provision`, or with defaults for all, needs none.
TABLES: Mapping[str, Mapping[str, Any]] = {
    "nat64": {"prefix": "64:ff9b:1::/96", "source_ip": "10.0.0.200"},
    "metrics": {"listen": "127.0.0.1:0"},  # any free port: tests run side by side
}
# These pairs of engines have their own tests with the same suite, and take their time.
ELSEWHERE = "Test_engine_"


def plugins() -> Iterator[str]:
    for file in sorted((ROOT / "plugins").glob("*/pyproject.toml")):
        yield from tomllib.loads(file.read_text())["project"]["entry-points"].get("vpnrs", {})


for _plugin in plugins():
    for _name, _class in classes(_plugin, TABLES.get(_plugin, {})).items():
        if not _name.startswith(ELSEWHERE):
            globals()[f"{_name}_of_{_plugin}"] = _class


def test_there_are_some() -> None:
    assert {"auth_token", "nat64", "qh3"} <= set(plugins())
    assert sum(name.startswith("Test_") for name in globals()) > 5
