"""`vpnrs plugins list`: every plugin and its state, imported only where a configuration names it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Vpnrs
from tests.plugins.conftest import GOOD, Install, install
from vpnrs_core.hookspecs import HOOK_API
from vpnrs_core.plugins.report import PluginsReport

__all__ = ["install"]


@pytest.fixture
def plugins(install: Install) -> None:
    install("good", GOOD)
    install("idle", "raise RuntimeError('must not be imported')")
    install("torn", "raise RuntimeError('broken')")
    install("old", GOOD, requires="vpnrs-core>=7")
    install("strict", GOOD)


def states(vpnrs: Vpnrs, *arguments: str) -> dict[str, tuple[str, str]]:
    ran = vpnrs("plugins", "list", "--json", *arguments)
    assert (ran.code, ran.err) == (0, "")
    report = PluginsReport.model_validate(json.loads(ran.out))
    assert report.hook_api == HOOK_API
    return {row.name: (row.state, row.problem) for row in report.plugins}


def test_without_a_configuration_nothing_is_imported(vpnrs: Vpnrs, plugins: None) -> None:
    found = states(vpnrs)
    assert next(iter(found)) == "core"
    assert found["core"] == ("built-in", "")
    assert found["good"] == found["torn"] == ("installed", "")
    assert found["old"] == ("incompatible", "it needs vpnrs-core >=7, this is 0.1.0")
    assert not [name for name in sys.modules if name.startswith("vpnrs_fake_")]


def test_with_one_what_it_names_is_judged(vpnrs: Vpnrs, plugins: None) -> None:
    Path("server.toml").write_text(
        'role = "server"\n[plugins.good]\n[plugins.torn]\n[plugins.old]\n[plugins.strict]\nx = 1\n[plugins.abset]\n'
    )
    found = states(vpnrs, "server.toml")
    assert found["good"] == ("active", "")
    assert found["idle"] == ("installed", "")
    assert found["torn"][0] == "broken"
    assert found["torn"][1].startswith("import: RuntimeError: broken (vpnrs_fake_torn.py line ")
    assert found["old"][0] == "incompatible"
    assert found["strict"] == ("broken", "server.toml: [plugins.strict] unknown key x; known are: limit")
    assert found["abset"] == ("missing", "not installed; `pip install vpnrs-abset`")


def test_people_get_a_line_each(vpnrs: Vpnrs, plugins: None) -> None:
    lines = [line.split() for line in vpnrs("plugins", "list").out.splitlines()]
    assert lines[0][:3] == ["core", "0.1.0", "built-in"]
    assert ["good", "1.2", "installed", "What", "good", "is", "for."] in lines


def test_the_core_lists_its_hooks(vpnrs: Vpnrs) -> None:
    (core, *_) = json.loads(vpnrs("plugins", "list", "--json").out)["plugins"]
    assert "vpnrs_register_transports" in core["hooks"]
    assert len(core["hooks"]) == 7
