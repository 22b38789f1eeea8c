"""A plugin of each kind, written by the scaffold and found as an installed one is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from vpnrs_core.plugins.kinds import BY_WORD
from vpnrs_core.plugins.project import of_project
from vpnrs_core.scaffold.render import project
from vpnrs_core.scaffold.write import write


class Made(NamedTuple):
    """`projects` by kind, each called `new_<kind>`; `path` are the folders that installing would add."""

    projects: Mapping[str, Path]
    path: list[Path]

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": os.pathsep.join(map(str, self.path)), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="session")
def made() -> Iterator[Made]:
    with tempfile.TemporaryDirectory(prefix="vpnrs-scaffold-") as folder:
        base = Path(folder)
        site = base / "site"
        projects = {kind: write(project(f"new_{kind}", kind), base) for kind in BY_WORD}
        for each in projects.values():
            of_project(each, site)
        yield Made(projects, [site, *projects.values()])
