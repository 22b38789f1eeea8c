"""nftables through the command `nft`: whole tables of our own, put in place and taken away in one step.

The command, because pyroute2 has neither masquerading nor the clamping of TCP's MSS, and because its text is what a
person reads in `nft list ruleset`. Its input is one transaction: the old table gives way to the new one without a
moment between them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from vpnrs_core.errors import HostError
from vpnrs_core.host.changes import Change
from vpnrs_core.host.netlink import Netlink

MISSING: Final = "the command 'nft' is missing: install nftables ('apt-get install nftables')"
_SECONDS: Final = 10.0
# Where administrators' commands are, also for an ordinary user's process.
_PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"


@dataclass(frozen=True)
class NftTable(Change):
    """A table of family inet. The mark is its name, `vpnrs_<instance>` with or without a suffix, which nobody else
    gives. `body` is what stands between its braces; `about` is for whoever finds it after a crash."""

    KIND: ClassVar[str] = "nft"
    table: str
    body: str
    purpose: str
    outlives: bool = False
    about: tuple[str, ...] = ()

    @property
    def outlives_a_crash(self) -> bool:
        return self.outlives

    def record(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "table": self.table,
            "body": self.body,
            "purpose": self.purpose,
            "outlives": self.outlives,
            "about": list(self.about),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        about = tuple(map(str, record["about"]))
        return cls(str(record["table"]), str(record["body"]), str(record["purpose"]), bool(record["outlives"]), about)

    async def apply(self, netlink: Netlink) -> None:
        # `add` makes it if need be, so that `delete` has something to delete: all of it is one transaction.
        run_nft(
            f"add table inet {self.table}\ndelete table inet {self.table}\ntable inet {self.table} {{\n{self.body}}}"
        )

    async def undo(self, netlink: Netlink, resumed: bool = False) -> None:
        run_nft(f"add table inet {self.table}\ndelete table inet {self.table}")

    async def is_ours(self, netlink: Netlink) -> bool:
        return self.table in tables()

    def __str__(self) -> str:
        return f"nft table inet {self.table} ({self.purpose})"


def available() -> bool:
    return find_nft() is not None


def find_nft() -> str | None:
    return shutil.which("nft", path=os.pathsep.join(filter(None, (os.environ.get("PATH"), _PATH))))


def tables() -> list[str]:
    """Names of the tables of family inet."""
    words = [line.split() for line in run_nft("list tables inet").splitlines()]
    return [word[2] for word in words if word[:2] == ["table", "inet"]]


def run_nft(text: str) -> str:
    """Carry out commands as one transaction, in this thread's network namespace → what it printed. Raises HostError."""
    command = find_nft()
    if command is None:
        raise HostError(MISSING)
    try:
        done = subprocess.run([command, "-f", "-"], input=text, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"'nft' could not be run: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise HostError(
            f"nftables refuses: {said[0]}; does this kernel have nf_tables, and this process CAP_NET_ADMIN?"
        )
    return done.stdout


def quoted(name: str) -> str:
    """An interface's name for nft's text. Raises HostError for one that nft would read otherwise."""
    if any(character in name for character in '"*\\'):
        raise HostError(f"[tun] name {name!r}: nftables cannot name this interface; choose one of letters and digits")
    return f'"{name}"'
