"""What README tells people to type is typed here, in its order; what it links to is there."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import pytest

from vpnrs_core.cli import cli
from vpnrs_core.testkit.fixtures import netns
from vpnrs_core.testkit.netns import Namespace, Topology

__all__ = ["netns"]

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What cannot be typed inside a test: it makes environments, or needs another machine.
ELSEWHERE = {
    "make demo",
    "make test",
    "python3 -m venv /opt/vpnrs",
    "/opt/vpnrs/bin/pip install . ./plugins/auth_token",
    'export PATH="/opt/vpnrs/bin:$PATH"',
}


class Line(NamedTuple):
    """A command, and where it is typed: "server", "client", or "" where README does not say."""

    place: str
    command: str


def lines() -> list[Line]:
    found = []
    for block in BLOCK.findall(README.read_text()):
        place = ""
        for line in block.splitlines():
            if match := re.fullmatch(r"# at the (server|client)", line):
                place = match[1]
            elif command := line.partition(" # ")[0].strip():
                found.append(Line(place, command))
    return found


def folder_of(base: Path, place: str) -> Path:
    path = base / place
    path.mkdir(exist_ok=True)
    return path


class Terminals:
    """Both machines: where README says that something is typed, with `vpnrs` on the PATH."""

    def __init__(self, server: Namespace, client: Namespace, base: Path) -> None:
        self.machines = {"server": server, "client": client}
        self.base = base
        bin_ = folder_of(base, "bin")
        (bin_ / "vpnrs").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vpnrs_core "$@"\n')
        (bin_ / "vpnrs").chmod(0o755)
        self.path = f"{bin_}:{os.environ['PATH']}"

    def type(self, line: Line) -> str:
        """→ what it printed. `vpnrs run` stays, and is waited for."""
        where = folder_of(self.base, line.place)
        shell = f"cd {where} && export PATH={self.path} VPNRS_RUN_DIR={where}/run && exec {line.command}"
        if not line.command.startswith("vpnrs run "):
            return self.machines[line.place].run("sh", "-c", shell).stdout
        with (where / "log").open("w") as log:
            self.machines[line.place].spawn("sh", "-c", shell, stderr=log)
        deadline = time.monotonic() + 15
        while not re.search(" instance_started .*role=server| connected ", said := (where / "log").read_text()):
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
        return said

    def copy(self, command: str) -> None:
        """What scp does, as far as README uses it."""
        *sources, target = command.split()[1:]
        for source in sources:
            shutil.copy(self.base / "server" / source.partition(":")[2], folder_of(self.base, "client") / target)


@pytest.mark.netns
def test_the_quick_start_works_as_it_is_written(netns: Topology, tmp_path: Path) -> None:
    """client 203.0.113.6 ── 203.0.113.7 server"""
    server, client = netns.namespace("server"), netns.namespace("client")
    left, right = netns.connect(client, server, "198.18.0.0/24")
    netns.add_address(client, left, "203.0.113.6/24")
    netns.add_address(server, right, "203.0.113.7/24")
    terminals = Terminals(server, client, tmp_path)
    printed: dict[str, str] = {}
    for line in lines():
        if line.command.startswith("scp "):
            terminals.copy(line.command)
        elif line.command not in ELSEWHERE:
            printed[line.command] = terminals.type(line)
    assert "3 received" in printed["ping -c 3 10.77.0.1"]
    assert "bob" in printed["vpnrs token list --file office/tokens.txt"]
    assert "bob" in printed["vpnrs token revoke --name bob --file office/tokens.txt"]
    for place in ("server", "client"):
        assert list((tmp_path / place / "run").iterdir()) == []


def test_every_command_of_the_first_block_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert [line.command for line in lines()[:2]] == ["make demo", "make test"]
    for target in re.findall(r"`?make (\w+)", README.read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_link_leads_somewhere() -> None:
    text = README.read_text()
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target


def test_the_commands_that_exist_are_named_and_no_others() -> None:
    row = next(line for line in README.read_text().splitlines() if line.startswith("| `init`"))
    now, later = row.strip("|").split("|")[:2]
    names = [name.split()[0] for name in re.findall(r"`([^`]+)`", now)]
    added = set(entry_points(group="vpnrs.commands").names)
    own = set(cli.list_commands(cli.make_context("vpnrs", ["status"]))) - added
    assert set(names) == own | {"token"}
    assert "token" in added
    assert not set(re.findall(r"`([^`]+)`", later)) & own
