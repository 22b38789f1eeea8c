"""Each promise of docs/security.md, and each decision of docs/adr, names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "docs" / "security.md", *sorted((ROOT / "docs" / "adr").glob("*.md"))]


def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_file_and_test_that_is_named_exists(document: Path) -> None:
    text = document.read_text()
    files = set(re.findall(r"`((?:vpnrs_core|plugins|tests|docs)/[\w./]+)`", text))
    assert not [path for path in files if not (ROOT / path).exists()]
    tests = [path for path in files if path.startswith(("tests/", "plugins/", "vpnrs_core/testkit/"))]
    known = {name for path in tests for name in functions(path)}
    assert not [name for name in re.findall(r"`(test_\w+)`", text) if name not in known]


def test_every_promise_names_a_test() -> None:
    promises = (ROOT / "docs" / "security.md").read_text().partition("## Promised")[2].partition("\n## ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 10
    assert not [row for row in rows if not re.search(r"tests/[\w/]+\.py", row)]


@pytest.mark.parametrize("document", DOCUMENTS[1:], ids=lambda path: path.stem)
def test_a_decision_has_its_parts_on_a_page(document: Path) -> None:
    text = document.read_text()
    assert len(text.splitlines()) <= 40
    assert all(f"**{part}" in text for part in ("Context", "Decision", "Consequences"))
