"""docs/nat64.md names every key with its help, every drop reason, and every field of what the commands print."""

from pathlib import Path

import pytest
from vpnrs_nat64.config import Nat64Config, StaticConfig
from vpnrs_nat64.control import BindingRow, SessionRow, SourceStats, Stats
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


@pytest.mark.parametrize(
    ("where", "model", "more"),
    [
        ("`vpnrs nat64 bindings --json` prints", BindingRow, []),
        ("`vpnrs nat64 sessions --json` prints", SessionRow, []),
        ("`vpnrs nat64 stats --json` prints", Stats, ["drops"]),
        ("An element of `sources`", SourceStats, []),
    ],
)
def test_every_field_of_the_json_is_documented_with_its_own_words(where, model, more):
    table = PAGE.read_text().partition(where)[2].partition("\n\n")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table]
    assert [row[0] for row in rows] == [*model.model_fields, *more]
    for (_, _, meaning), field in zip(rows, model.model_fields.values(), strict=False):
        assert meaning == field.description
