"""What authors read is true: commands can be typed, snippets run, and the table of failures names its tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Vpnrs, vpnrs
from vpnrs_core.plugins.kinds import BY_WORD

__all__ = ["vpnrs"]

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)


@pytest.mark.parametrize("kind", BY_WORD)
def test_the_command_of_a_howto_writes_the_file_that_it_shows(vpnrs: Vpnrs, tmp_path: Path, kind: str) -> None:
    """The files themselves are tested in tests/scaffold."""
    blocks = BLOCK.findall((DOCS / "howto" / f"{kind}.md").read_text())
    (command,) = [content.strip() for language, _, content in blocks if language == "sh"]
    ran = vpnrs(*command.split()[1:])
    assert (ran.code, ran.err) == (0, "")
    (shown,) = [(title, content) for language, title, content in blocks if language == "python" and title]
    assert (tmp_path / f"vpnrs-my-{kind}" / shown[0]).read_text() == shown[1]


def test_the_snippets_of_testing_run(tmp_path: Path) -> None:
    for language, title, content in BLOCK.findall((DOCS / "testing.md").read_text()):
        assert (language, bool(title)) == ("python", True)
        (tmp_path / title).write_text(content)
    arguments = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", os.devnull)
    command = [sys.executable, "-m", "pytest", *arguments, "--rootdir", str(tmp_path), str(tmp_path)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert " passed" in ran.stdout


def test_what_the_explanations_name_exists() -> None:
    for page in (DOCS / "explanation").glob("*.md"):
        files = re.findall(r"`(tests/[\w/.]+)`", page.read_text())
        assert files
        assert not [file for file in files if not (DOCS.parent / file).exists()]
