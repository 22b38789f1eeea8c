"""The configurations in the READMEs: merged into what `vpnrs init` makes, `vpnrs check` finds nothing wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Vpnrs, vpnrs

__all__ = ["vpnrs"]

ROOT = Path(__file__).parents[2]
# The words in front of a block say whose configuration it is of.
BLOCK = re.compile(r"At the (server|client)[^`]*:\n\n```toml\n(.*?)^```$", re.M | re.S)
READMES = sorted((ROOT / "examples").glob("*/README.md"))
SHOWN = [
    pytest.param(readme, role, block, id=f"{readme.parent.name}-{role}")
    for readme in READMES
    for role, block in BLOCK.findall(readme.read_text())
]


def test_every_block_is_found() -> None:
    assert len(SHOWN) == sum(readme.read_text().count("```toml") for readme in READMES) > 0


@pytest.mark.parametrize(("readme", "role", "block"), SHOWN)
def test_check_finds_nothing_wrong(vpnrs: Vpnrs, tmp_path: Path, readme: Path, role: str, block: str) -> None:
    assert set(tomllib.loads(block)["plugins"]) == {readme.parent.name}
    made = tmp_path / "made"
    assert vpnrs("init", str(made), "--name", "alice").code == 0
    for name in re.findall(r'file = "([^"]+)"', block):
        (made / name).write_text("a secret of forty characters or even more")
        (made / name).chmod(0o600)
    shown = made / "shown.toml"
    shown.write_text(_merged((made / f"{role}.toml").read_text(), block))
    ran = vpnrs("check", str(shown))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith(", nothing is wrong\n")
    assert "warning" not in ran.out
    # It was this plugin that judged the table.
    shown.write_text(f"{shown.read_text()}\n[plugins.{readme.parent.name}.no_such_table]\n")
    ran = vpnrs("check", str(shown))
    assert ran.code != 0
    assert "no_such_table" in ran.out + ran.err


def _merged(configuration: str, block: str) -> str:
    """The block's tables in place of those that have the same names."""
    headers = set(re.findall(r"^\[.*\]$", block, re.M))
    tables = re.split(r"^(?=\[)", configuration, flags=re.M)
    return "".join(table for table in tables if table.partition("\n")[0] not in headers) + "\n" + block
