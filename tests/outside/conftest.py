"""A virtual environment as a stranger has it: wheels of core and plugins, nothing of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Collection, Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECTS = (".", "plugins/auth_token", "examples/quota", "examples/webhook_auth")


class Outside:
    """`run` is a shell with the environment's commands first; the wheels are in `wheels`.

    Nothing is fetched: what the wheels say that they require comes from the environment that runs the tests, exactly
    that and no more, and pip has no index to make up for what they forgot to say."""

    def __init__(self, base: Path) -> None:
        self.base, self.wheels = base, base / "wheels"
        self.bin = base / "venv" / "bin"
        venv.create(base / "venv", with_pip=False)
        self.site = next((base / "venv" / "lib").glob("python*/site-packages"))
        self._given: set[str] = set()
        # The pip that runs the tests works on the new environment, which saves unpacking another. Setuptools is there,
        # so nothing is fetched for a build of its own; modules are compiled when they are first imported.
        python = self.bin / "python"
        (self.bin / "pip").write_text(
            '#!/bin/sh\ncommand="$1"; shift\ncase "$command" in\n'
            'install) more="--no-build-isolation --no-index --no-compile";;\n'
            'wheel) more="--no-build-isolation --no-index";;\nesac\n'
            f'exec {sys.executable} -m pip --python {python} --disable-pip-version-check "$command" $more "$@"\n'
        )
        (self.bin / "pip").chmod(0o755)
        self.give("setuptools>=77")

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

    def give(self, *requirements: str) -> None:
        """Copy these and what they require, as their metadata say, from the environment that runs the tests."""
        for each in map(Requirement, requirements):
            name = canonicalize_name(each.name)
            if name not in self._given:
                self._given.add(name)
                found = distribution(name)
                assert each.specifier.contains(found.version, prereleases=True), f"{each}: this is {found.version}"
                self._copy(found)
                wanted = map(Requirement, found.requires or ())
                self.give(*(str(more) for more in wanted if _applies(more, each.extras)))

    def give_what_wheels_require(self, extra: str = "") -> None:
        """The same for the wheels, without the wheels themselves."""
        for wheel in self.wheels.glob("*.whl"):
            (found,) = distributions(path=[str(wheel)])
            for each in map(Requirement, found.requires or ()):
                if not each.name.startswith("vpnrs") and _applies(each, {extra}):
                    self.give(str(each))

    def _copy(self, found: Distribution) -> None:
        for file in found.files or ():
            source, target = Path(str(found.locate_file(file))), self.site / file
            if ".." not in file.parts and source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
            elif file.parent.name == "bin" and source.exists():
                script = source.read_text("utf-8").partition("\n")[2]
                (self.bin / file.name).write_text(f"#!{self.bin / 'python'}\n{script}")
                (self.bin / file.name).chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VPNRS", "PYTEST"))}
        return {**kept, "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def run(self, command: str, where: Path | None = None, check: bool = True) -> str:
        """→ what it printed, errors included."""
        ran = subprocess.run(
            ["sh", "-ec", command], cwd=where or self.base, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert not check or ran.returncode == 0, f"{command}\n{ran.stdout}"
        return ran.stdout


def _applies(requirement: Requirement, extras: Collection[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, ""))


@pytest.fixture(scope="session")
def outside() -> Iterator[Outside]:
    # Short: sockets of instances have paths below it.
    folder = Path(tempfile.mkdtemp(prefix="vo"))
    try:
        made = Outside(folder)
        made.build()
        made.give_what_wheels_require()
        yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)
