"""No signature of the contract changes without an entry in docs/hook-changelog.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from vpnrs_core import __version__
from vpnrs_core.hookspecs import HOOK_API
from vpnrs_core.plugins.signatures import changes, from_text, signatures, to_text

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "docs" / "hook-changelog.md").read_text()
RELEASED = sorted(Path(__file__).parent.glob("*.txt"), key=lambda path: tuple(map(int, path.stem.split("."))))


def unreleased(text: str) -> str:
    return text.partition("\n## Unreleased\n")[2].partition("\n## ")[0]


def untold(old: Mapping[str, str], new: Mapping[str, str], text: str) -> list[str]:
    told = set(re.findall(r"`([\w.]+)`", unreleased(text)))
    return [name for name in changes(old, new) if name not in told]


def test_every_change_since_the_last_release_is_told() -> None:
    missing = untold(from_text(RELEASED[-1].read_text()), signatures(), CHANGELOG)
    assert not missing, (
        f"{', '.join(missing)}: added, gone or changed since {RELEASED[-1].stem}; "
        "tell authors of plugins what it means for them, under Unreleased in docs/hook-changelog.md"
    )


def test_the_contracts_version_is_the_cores() -> None:
    assert __version__.rpartition(".")[0] == HOOK_API
    # A release takes its signatures along: what to_text(signatures()) gives, as VERSION.txt.
    assert RELEASED[-1].stem == __version__
    assert f"\n## {HOOK_API}\n" in CHANGELOG


def test_the_names_of_the_contract_are_there() -> None:
    found = signatures()
    assert found["vpnrs_check"] == "(configuration: 'Any') -> 'Sequence[Finding]'"
    assert found["AdmissionCheck.before"] == "async (self, attempt: 'Attempt') -> 'Admit | Refuse'"
    assert found["Contribution.mtu"] == "int | None, may be left out"
    assert found["Code.POLICY"] == "'policy'"
    assert found["Context.role"].startswith("property ")
    assert len(found) > 400


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("vpnrs_check", "(configuration: 'Any', more: 'int') -> 'Sequence[Finding]'"),
        ("Store.get", "async (self, key: 'str', wait: 'float') -> 'Value | None'"),
        ("Lease.until", "Seconds"),
        ("Code.NEW", "'new'"),
        ("NewThing", "class(Protocol)"),
    ],
)
def test_a_changed_signature_without_an_entry_is_found(name: str, signature: str) -> None:
    old = signatures()
    new = {**old, name: signature, **({"NewThing.member": "int"} if name == "NewThing" else {})}
    text = "# Changes\n\n## Unreleased\n\n## 0.1\n\n- `vpnrs_check` and `Store.get` in an earlier release\n"
    assert untold(old, new, text) == [name]
    assert untold(old, new, text.replace("## Unreleased\n", f"## Unreleased\n\n- `{name}` is another\n")) == []
    gone = {key: value for key, value in old.items() if key != "Lease" and not key.startswith("Lease.")}
    assert untold(old, gone, text) == ["Lease"]


def test_text_and_back() -> None:
    assert from_text(to_text(signatures())) == signatures()
