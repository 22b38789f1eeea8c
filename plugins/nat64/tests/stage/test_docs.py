"""docs/nat64.md names every key with its help, and every drop reason; the README's files exist."""

from pathlib import Path

import pytest
from vpnrs_nat64.config import Nat64Config, StaticConfig
from vpnrs_nat64.plugin import Plugin
from vpnrs_nat64.reasons import REASONS

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "nat64.md"


@pytest.mark.parametrize("model", [Nat64Config, StaticConfig])
def test_every_key_is_documented_with_its_own_words(model):
    lines = PAGE.read_text().splitlines()
    for name, field in model.model_fields.items():
        row = [line for line in lines if line.startswith(f"| `{name}` |") and line.endswith(f"| {field.description} |")]
        assert len(row) == 1, name
        default = field.get_default()
        if isinstance(default, bool | int | float):
            shown = row[0].split("|")[2].strip(" `")
            assert shown == str(default).lower() if isinstance(default, bool) else float(shown) == default


def test_every_drop_reason_is_documented_and_declared():
    text = PAGE.read_text()
    for name, help in REASONS.items():
        assert f"| `nat64.{name}` | {help} |" in text
    assert Plugin.DROP_REASONS is REASONS
    assert len(set(REASONS.values())) == len(REASONS)
