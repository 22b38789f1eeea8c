"""The configurations in the READMEs: merged into what `vpnrs init` makes, `vpnrs check` finds nothing wrong."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VPNRS = (sys.executable, "-m", "vpnrs_core")
# The words in front of a block say whose configuration it is of.
BLOCK = re.compile(r"At the (server|client)[^`]*:\n\n```toml\n(.*?)^```$", re.M | re.S)
READMES = sorted((ROOT / "examples").glob("*/README.md"))
SHOWN = [
    pytest.param(readme, role, block, id=f"{readme.parent.name}-{role}")
    for readme in READMES
    for role, block in BLOCK.findall(readme.read_text())
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "made"
    subprocess.run([*VPNRS, "init", str(folder), "--name", "alice"], check=True, capture_output=True)
    return folder


def test_every_block_is_found() -> None:
    assert len(SHOWN) == sum(readme.read_text().count("```toml") for readme in READMES) > 0


@pytest.mark.parametrize(("readme", "role", "block"), SHOWN)
def test_check_finds_nothing_wrong(made: Path, readme: Path, role: str, block: str) -> None:
    for name in re.findall(r'file = "([^"]+)"', block):
        (made / name).write_text("a secret of forty characters or even more")
        (made / name).chmod(0o600)
    shown = made / f"{readme.parent.name}-{role}.toml"
    shown.write_text(_merged((made / f"{role}.toml").read_text(), block))
    plugins = set(tomllib.loads(block)["plugins"])
    assert plugins == {readme.parent.name}
    ran = subprocess.run([*VPNRS, "check", shown.name], cwd=made, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith(", nothing is wrong\n")
    assert "warning" not in ran.stdout

    broken = made / "broken.toml"
    broken.write_text(f"{shown.read_text()}\n[plugins.{readme.parent.name}.no_such_table]\n")
    ran = subprocess.run([*VPNRS, "check", broken.name], cwd=made, capture_output=True, text=True)
    assert ran.returncode != 0
    assert "no_such_table" in ran.stdout + ran.stderr


def _merged(configuration: str, block: str) -> str:
    """The block's tables in place of those that have the same names."""
    headers = set(re.findall(r"^\[.*\]$", block, re.M))
    tables = re.split(r"^(?=\[)", configuration, flags=re.M)
    return "".join(table for table in tables if table.partition("\n")[0] not in headers) + "\n" + block
