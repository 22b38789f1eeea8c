"""The translator takes bytes and times as arguments: no file of it can reach a socket, a clock or the system."""

import ast
from pathlib import Path

import pytest
from vpnrs_nat64 import translate

FILES = sorted(Path(translate.__file__).parent.glob("*.py"))
IMPURE = {"asyncio", "os", "pluggy", "random", "secrets", "select", "socket", "subprocess", "threading", "time"}


def imported(path: Path) -> set[str]:
    """The modules that a file imports, by their full names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_imports_are_pure_and_of_packets_only(path: Path) -> None:
    for name in imported(path):
        assert name.split(".")[0] not in IMPURE, name
        if name.startswith("vpnrs"):
            allowed = ("vpnrs_core.packet", "vpnrs_nat64.translate", "vpnrs_core.interfaces.session")
            assert name.startswith(allowed), name
