"""What `vpnrs plugins new` writes works at once, for every kind: its tests pass, it is listed, checked, and runs."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.scaffold.conftest import Made
from vpnrs_core import __version__
from vpnrs_core.errors import ConfigError
from vpnrs_core.plugins.kinds import BY_REGISTRY, BY_WORD
from vpnrs_core.plugins.public import private_imports
from vpnrs_core.plugins.registry import KINDS
from vpnrs_core.scaffold.render import project
from vpnrs_core.scaffold.write import write
from vpnrs_core.testkit import suites
from vpnrs_core.testkit.traffic import ping
from vpnrs_core.testkit.tunnel import SERVER4

ROOT = Path(__file__).parents[2]
# As its author would have it: nothing of this repository's configuration.
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-W", "error")


def test_every_kind_of_the_contract_has_a_template_and_a_suite() -> None:
    assert set(BY_REGISTRY) == set(KINDS)
    assert all(hasattr(suites, kind.suite) for kind in BY_WORD.values())
    assert len(BY_WORD) == 13


def test_the_tests_of_every_kind_pass(made: Made) -> None:
    """In one process; of an engine's suite, which the engines here pass whole, as much as shows that it is found."""
    folders = [str(each) for each in made.projects.values()]
    # The pytest plugins here are not needed, and take a second to import.
    environment = {**os.environ, **made.environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    rootdir = str(next(iter(made.projects.values())).parent)
    choice = ("-k", "not new-engine or handshake or name or order")
    ran = subprocess.run(
        [sys.executable, *PYTEST, "--rootdir", rootdir, "-c", os.devnull, *choice, *folders],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert "skipped" not in ran.stdout


def test_they_are_listed(made: Made) -> None:
    command = [sys.executable, "-m", "vpnrs_core", "plugins", "list", "--json"]
    ran = subprocess.run(command, env={**os.environ, **made.environment}, capture_output=True, text=True, check=True)
    states = {row["name"]: row["state"] for row in json.loads(ran.stdout)["plugins"]}
    assert {states.get(f"new_{kind}") for kind in BY_WORD} == {"installed"}


@pytest.mark.parametrize("kind", BY_WORD)
def test_only_public_names_are_used(made: Made, kind: str) -> None:
    assert list(private_imports(made.projects[kind])) == []


@pytest.mark.parametrize("kind", BY_WORD)
def test_it_is_short_and_says_what_it_is(made: Made, kind: str) -> None:
    folder = made.projects[kind]
    data = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert data["dependencies"] == [f"vpnrs-core>={__version__.rpartition('.')[0]},<0.2"]
    assert data["description"] in (folder / "README.md").read_text()
    for path in folder.rglob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) < 230, path
        assert max(map(len, text.splitlines()), default=0) <= 120, path
        assert path.name == "conftest.py" or ast.get_docstring(ast.parse(text)), path


def test_they_are_clean(made: Made) -> None:
    rules = ("--select", "E,F,W,UP,B,C4", "--line-length", "120", "--target-version", "py311")
    ruff = Path(sys.executable).with_name("ruff")
    folders = [str(each) for each in made.projects.values()]
    for arguments in (("check", "--isolated", *rules), ("format", "--isolated", "--check", "--line-length", "120")):
        ran = subprocess.run([ruff, *arguments, "--no-cache", *folders], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout


def test_their_types_hold(made: Made) -> None:
    """As this repository's own, strictly; with the cache of `make check`, where there is one."""
    packages = [str(folder / folder.name.replace("-", "_")) for folder in made.projects.values()]
    command = [Path(sys.executable).with_name("mypy"), "--config-file", "pyproject.toml", *packages]
    environment = {**os.environ, "MYPYPATH": os.pathsep.join(map(str, made.projects.values()))}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.netns
def test_all_of_them_run_at_both_sides_of_a_tunnel(made: Made, tunnel) -> None:  # type: ignore[no-untyped-def]
    """client ── server; the new codec is negotiated, the new engine and scheduler are chosen."""
    net = tunnel(env=made.environment)
    chosen = [option for kind in BY_WORD for option in ("-p", f"new_{kind}")]
    chosen += ["--set", "quic.engine=new_engine", "--set", "scheduler=new_scheduler", "--set", "store=new_store"]
    net.remember()
    net.server.start(*chosen)
    status = net.server.wait_state("listening")
    assert {f"new_{kind}" for kind in BY_WORD} <= {plugin["name"] for plugin in status["plugins"]}
    net.client.start(*chosen)
    net.client.wait_state("connected")
    ping(net.client_ns[0], SERVER4)
    assert sum(plugin["failures"] for plugin in net.server.status()["plugins"]) == 0
    assert "1 sessions: client" in net.server.log or "0 sessions" in net.server.log


@pytest.mark.parametrize("name", ["", "Rate", "rate-limit", "1st", "x", "../x", "core", "a" * 3 + "_"])
def test_a_name_that_no_plugin_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"name"):
        project(name, "stage")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    made = project("mine", "stage")
    folder = write(made, tmp_path / "deep" / "er")
    (folder / "README.md").write_text("changed")
    with pytest.raises(ConfigError, match="exists already"):
        write(made, tmp_path / "deep" / "er")
    assert (folder / "README.md").read_text() == "changed"
