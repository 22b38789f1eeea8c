"""The frame around all commands: help without imports, errors as one line, exit codes, plugins' own commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Vpnrs
from vpnrs_core.cli.lazy import LazyCommand, LazyGroup

# What `--help` and `status` on a host without instances have no use for.
HEAVY = ("pydantic", "aioquic", "cryptography", "rich", "pluggy", "asyncio", "pyroute2", "vpnrs_auth_token")


def modules_after(arguments: list[str]) -> set[str]:
    code = (
        "import sys\nfrom vpnrs_core.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    return set(ran.stderr.split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["status", "--help"], ["stop", "--help"], ["status", "--instance", "x"]]
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    loaded = modules_after(arguments)
    assert "vpnrs_core.cli" in loaded
    assert loaded.isdisjoint(HEAVY), sorted(loaded.intersection(HEAVY))


def test_help_lists_commands_without_importing_them(vpnrs: Vpnrs) -> None:
    ran = vpnrs("--help")
    assert ran.code == 0
    for name in ("init", "run", "check", "status", "stop", "plugins"):
        assert f"\n  {name} " in ran.out


@pytest.mark.parametrize("arguments", [[], ["plugins"]])
def test_a_group_alone_shows_its_help(vpnrs: Vpnrs, arguments: list[str]) -> None:
    ran = vpnrs(*arguments)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Usage: vpnrs ")


def test_a_command_of_another_installation_is_not_offered() -> None:
    group = LazyGroup(lazy={"gone": LazyCommand("vpnrs_core.cli.gone:gone", "Not here.")})
    assert group.list_commands(click.Context(group)) == []


def test_a_command_that_is_none_names_the_nearest(vpnrs: Vpnrs) -> None:
    assert vpnrs("stats") == (2, "", "vpnrs: there is no command 'stats'; did you mean status?\n")
    assert vpnrs("xyzzy") == (2, "", "vpnrs: there is no command 'xyzzy'; `vpnrs --help` lists them\n")


def test_a_usage_error_is_one_line(vpnrs: Vpnrs) -> None:
    assert vpnrs("run") == (2, "", "vpnrs: Missing argument 'CONFIG'.\n")


def test_an_error_is_one_line_and_its_own_exit_code(vpnrs: Vpnrs) -> None:
    ran = vpnrs("run", "none.toml")
    assert ran == (2, "", "vpnrs: none.toml: no such file; `vpnrs init DIR` writes a server's and a client's\n")


def test_debug_shows_the_traceback(vpnrs: Vpnrs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPNRS_DEBUG", "1")
    ran = vpnrs("run", "none.toml")
    assert ran.code == 2
    assert ran.err.startswith("Traceback (most recent call last):")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path with a distribution whose command `hello` is what the test writes into hello_command.py."""
    info = tmp_path / "site" / "vpnrs_hello-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vpnrs-hello\nVersion: 1\nSummary: Says hello.\n")
    (info / "entry_points.txt").write_text(
        "[vpnrs.commands]\nhello = vpnrs_hello_command:hello\nrun = vpnrs_hello_command:hello\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "vpnrs_hello_command", raising=False)
    return tmp_path / "site"


def test_a_plugins_command_is_listed_unimported_and_runs_when_invoked(vpnrs: Vpnrs, site: Path) -> None:
    (site / "vpnrs_hello_command.py").write_text(
        "import click\n@click.command()\ndef hello():\n    click.echo('hello')\n"
    )
    listed = vpnrs("--help")
    assert "  hello " in listed.out
    assert "Says hello." in listed.out
    assert "vpnrs_hello_command" not in sys.modules
    assert vpnrs("hello") == (0, "hello\n", "")


def test_a_plugins_command_never_replaces_a_built_in_one(vpnrs: Vpnrs, site: Path) -> None:
    (site / "vpnrs_hello_command.py").write_text("raise RuntimeError('must not be imported')")
    assert vpnrs("run", "none.toml").err.startswith("vpnrs: none.toml: no such file")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 / 0", "vpnrs: command hello (vpnrs_hello_command:hello): import: ZeroDivisionError: division by zero"),
        ("hello = 3", "vpnrs: command hello (vpnrs_hello_command:hello): is 3, not a click command\n"),
    ],
)
def test_a_plugins_broken_command_is_an_error_of_the_plugin(vpnrs: Vpnrs, site: Path, code: str, said: str) -> None:
    (site / "vpnrs_hello_command.py").write_text(code)
    ran = vpnrs("hello")
    assert ran.code == 3
    assert ran.err.startswith(said)
    assert ran.err.count("\n") == 1


def test_a_bug_is_said_to_be_one_without_a_traceback(vpnrs: Vpnrs, site: Path) -> None:
    (site / "vpnrs_hello_command.py").write_text(
        "import click\n@click.command()\ndef hello():\n    raise KeyError('x')\n"
    )
    assert vpnrs("hello") == (1, "", "vpnrs: internal error: KeyError: 'x'; VPNRS_DEBUG=1 shows where\n")


def test_ctrl_c_is_no_error_message(vpnrs: Vpnrs, site: Path) -> None:
    (site / "vpnrs_hello_command.py").write_text(
        "import click\n@click.command()\ndef hello():\n    raise KeyboardInterrupt\n"
    )
    # The line end that follows ^C on a terminal, nothing else.
    assert vpnrs("hello") == (130, "", "\n")
