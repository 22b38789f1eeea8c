"""A virtual environment as a stranger has it: wheels of core and plugins, nothing of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = (".", "plugins/auth_token", "examples/quota", "examples/webhook_auth")


class Outside:
    """`run` is a shell with the environment's commands first; the wheels are in `wheels`."""

    def __init__(self, base: Path) -> None:
        self.base, self.wheels = base, base / "wheels"
        self.bin = base / "venv" / "bin"
        venv.create(base / "venv", with_pip=False)
        # The pip that runs the tests works on the new environment, which saves unpacking another. Setuptools is there,
        # so nothing is fetched for a build of its own.
        python = self.bin / "python"
        (self.bin / "pip").write_text(
            f'#!/bin/sh\ncommand="$1"; shift\ncase "$command" in install|wheel) isolated=--no-build-isolation;; esac\n'
            f'exec {sys.executable} -m pip --python {python} --disable-pip-version-check "$command" $isolated "$@"\n'
        )
        (self.bin / "pip").chmod(0o755)
        self.run("pip install -q 'setuptools>=77'")

    def build(self) -> None:
        """Wheels, from copies of the sources: a build leaves things behind where it happens."""
        for project in PROJECTS:
            copy = self.base / "sources" / project.replace("/", "-").replace(".", "core")
            if project == ".":
                copy.mkdir(parents=True)
                for name in ("pyproject.toml", "README.md", "LICENSE"):
                    shutil.copy(ROOT / name, copy)
                shutil.copytree(ROOT / "vpnrs_core", copy / "vpnrs_core", ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copytree(
                    ROOT / project, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
                )
        self.run(f"pip wheel -q --no-deps -w {self.wheels} sources/*")
        shutil.rmtree(self.base / "sources")

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VPNRS", "PYTEST"))}
        return {**kept, "PATH": f"{self.bin}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, command: str, where: Path | None = None, check: bool = True) -> str:
        """→ what it printed, errors included."""
        ran = subprocess.run(
            ["sh", "-ec", command], cwd=where or self.base, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert not check or ran.returncode == 0, f"{command}\n{ran.stdout}"
        return ran.stdout


@pytest.fixture(scope="session")
def outside() -> Iterator[Outside]:
    # Short: sockets of instances have paths below it.
    folder = Path(tempfile.mkdtemp(prefix="vo"))
    try:
        made = Outside(folder)
        made.build()
        yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)
