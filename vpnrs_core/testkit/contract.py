"""The contract suites of one installed plugin, for whoever has no test file of it: `vpnrs plugins check` collects this.

The environment variable VPNRS_CONTRACT names the plugin and its tables, as JSON: {"plugin": …, "table": {…},
"client_table": {…} or null}.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpnrs_core.plugins.discover import discover
from vpnrs_core.plugins.kinds import BY_WORD
from vpnrs_core.plugins.verdict import provisioned
from vpnrs_core.testkit import suites
from vpnrs_core.testkit.load import load

VARIABLE = "VPNRS_CONTRACT"


def classes(plugin: str, table: Mapping[str, Any], client_table: Mapping[str, Any] | None = None) -> dict[str, type]:
    """A subclass of the suite of its kind for each object that the plugin registers."""
    files: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="vpnrs-contract-") as folder:
        tables = provisioned(discover()[plugin].entry_point.load(), Path(folder)) if not table else None
        if tables is not None:
            table = tables["server"]
            files = {each.name: each.read_text() for each in Path(folder).iterdir()}
        loaded = load(plugin, table, folder=Path(folder))
    found: dict[str, type] = {}
    for kind in BY_WORD.values():
        for each in loaded.all(kind.word):
            name = each.name if kind.word == "command" else each.NAME
            suite = getattr(suites, "WrapperSuite" if hasattr(each, "wrapper") else kind.suite)
            title = f"Test_{kind.word}_{re.sub('[^0-9A-Za-z]', '_', name)}"
            told = {"plugin": plugin, "table": table, "files": files, "name": name, "client_table": client_table}
            found[title] = type(title, (suite,), told)
    return found


if VARIABLE in os.environ:
    globals().update(classes(**json.loads(os.environ[VARIABLE])))
