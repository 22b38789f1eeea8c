"""`vpnrs plugins new` and `check`: a verdict on one plugin, in lines that say what to mend."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Vpnrs
from tests.plugins.conftest import GOOD, Install, install
from vpnrs_core.quic.identity import make_certificate, pin_of

__all__ = ["install"]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    # A new plugin's own tests need none of the pytest plugins here, which take longer to import than they to run.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    yield
    for name in [name for name in sys.modules if name.startswith("vpnrs_mine")]:
        del sys.modules[name]


@pytest.fixture
def mine(vpnrs: Vpnrs, tmp_path: Path) -> Path:
    ran = vpnrs("plugins", "new", "mine", "--kind", "stage")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(
        "wrote 9 files into vpnrs-mine, a plugin that looks at, changes or drops packets\nnext:\n"
    )
    return tmp_path / "vpnrs-mine"


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def lines(text: str) -> list[tuple[str, str, str]]:
    """(state, what, text) of each step."""
    return [(m[1], m[2], m[3]) for m in re.finditer(r"^(ok|warning|failed|skipped) +(\w+) *(.*)$", text, re.M)]


def test_a_new_project_keeps_the_contract(vpnrs: Vpnrs, mine: Path) -> None:
    ran = vpnrs("plugins", "check", str(mine))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("mine: keeps the contract 0.1\n")
    states = {what: state for state, what, _ in lines(ran.out)}
    assert set(states.values()) == {"ok"}
    assert {"metadata", "compatibility", "import", "configuration", "server", "client", "contract", "tests"} <= set(
        states
    )


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        ("plugin.py", "packet_stages", "packet_stage", "did you mean vpnrs_register_packet_stages?"),
        ("plugin.py", "import pydantic", "import pydantics", "No module named 'pydantics' (plugin.py line 7)"),
        ("plugin.py", "return [", "return 3 or [", "vpnrs_register_packet_stages returned 3, not a list"),
        ("stage.py", "ORDER: ClassVar[int] = 500", "pass", "'mine' lacks ORDER; see the how-to of kind stage"),
    ],
)
def test_what_is_broken_is_named(vpnrs: Vpnrs, mine: Path, file: str, old: str, new: str, line: str) -> None:
    change(mine / "vpnrs_mine" / file, old, new)
    ran = vpnrs("plugins", "check", str(mine))
    assert ran.code == 3
    assert any(state == "failed" and line in text for state, _, text in lines(ran.out)), ran.out
    assert "mine: breaks the contract 0.1 in " in ran.out


def test_a_broken_promise_is_named_by_the_suite(vpnrs: Vpnrs, mine: Path) -> None:
    change(mine / "vpnrs_mine" / "stage.py", "out.forward(packet)", "pass")
    shutil.rmtree(mine / "tests")
    ran = vpnrs("plugins", "check", str(mine))
    assert ran.code == 3
    broken = [text for state, what, text in lines(ran.out) if (state, what) == ("failed", "contract")]
    assert any("test_every_packet_is_named_once" in text and "were not named" in text for text in broken), ran.out


def test_what_may_break_later_is_warned_of(vpnrs: Vpnrs, mine: Path) -> None:
    change(mine / "pyproject.toml", "vpnrs-core>=0.1,<0.2", "vpnrs-core>=0.1")
    change(mine / "vpnrs_mine" / "plugin.py", "import pydantic", "import pydantic\nimport vpnrs_core.engine.gate")
    change(mine / "vpnrs_mine" / "plugin.py", ', description="Destination ports that clients may not send to."', "")
    ran = vpnrs("plugins", "check", "--no-tests", str(mine))
    assert ran.code == 0
    warnings = [text for state, _, text in lines(ran.out) if state == "warning"]
    assert warnings == [
        "its range of vpnrs-core has no upper end: a later contract may break it",
        "plugin.py line 8 imports vpnrs_core.engine.gate, which is not public and may change with any release",
        "without a description, which errors and pages show: ports",
    ]


def test_an_incompatible_one_is_not_imported(vpnrs: Vpnrs, install: Install) -> None:
    install("old", "raise RuntimeError('must not be imported')", requires="vpnrs-core>=7")
    ran = vpnrs("plugins", "check", "old")
    assert ran.code == 3
    assert lines(ran.out)[-1] == ("failed", "compatibility", "it needs vpnrs-core >=7, this is 0.1.0")


def test_a_table_is_given_with_set(vpnrs: Vpnrs, install: Install) -> None:
    install("good", GOOD)
    assert vpnrs("plugins", "check", "--no-tests", "good", "--set", "limit=7").code == 0
    ran = vpnrs("plugins", "check", "--no-tests", "good", "--set", "limit=many")
    assert ran.code == 3
    assert "[plugins.good] limit: should be a valid integer" in ran.out


def test_a_transport_is_held_against_all_of_the_contract_with_a_table_for_each_side(
    vpnrs: Vpnrs, tmp_path: Path
) -> None:
    vpnrs("plugins", "new", "mine", "--kind", "transport")
    pair = make_certificate("127.0.0.1")
    (tmp_path / "server.crt").write_bytes(pair.certificate)
    (tmp_path / "server.key").write_bytes(pair.key)
    shutil.rmtree(tmp_path / "vpnrs-mine" / "tests")  # they run the same suite once more
    files = [f"--set={key}={tmp_path / f'server.{end}'}" for key, end in (("certificate", "crt"), ("key", "key"))]
    check = ("plugins", "check", "vpnrs-mine", *files)
    ran = vpnrs(*check, f"--client-set=server_pin={pin_of(pair.certificate)}")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "mine: keeps the contract 0.1"), ran.out
    assert ("ok", "contract", "12 promises kept") in lines(ran.out)
    assert "unknown key server_pi; did you mean server_pin?" in vpnrs(*check, "--client-set=server_pi=x").out


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("absent", "plugin absent is not installed; `pip install vpnrs-absent`"),
        (".", "has no pyproject.toml"),
        ("./nowhere", "has no pyproject.toml"),
    ],
)
def test_what_is_no_plugin_is_said(vpnrs: Vpnrs, target: str, error: str) -> None:
    ran = vpnrs("plugins", "check", target)
    assert ran.code in (2, 3)
    assert error in ran.err


def test_a_project_without_a_plugin_is_told_what_to_add(vpnrs: Vpnrs, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    ran = vpnrs("plugins", "check", str(tmp_path))
    assert (ran.code, "[project.entry-points.vpnrs]" in ran.err) == (2, True)
