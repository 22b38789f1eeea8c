"""The text of a resolv.conf that has a tunnel's servers: the former content can be read from it again.

The file may be on a disk, and the journal that tells of it is in memory: after a power cut the file is all there is. So
the lines that were replaced stay in it as comments, and the first line says whose it is, since which start of the host,
and what must follow for it to be just what we wrote.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MARK: Final = "# Servers of vpnrs instance "
_COMES_BACK: Final = "the former content comes back when it stops"
_GOES: Final = "the file goes when it stops"
_KEPT: Final = "#vpnrs# "
_HEADER: Final = re.compile(
    rf"{MARK}(?P<instance>[^;\n]+); (?P<then>{_COMES_BACK}|{_GOES}) \(boot (?P<boot>\S+), (?P<digest>[0-9a-f]+)\)\n"
)


@dataclass(frozen=True)
class Former:
    """`before` is the content that comes back, None: there was no file."""

    instance: str
    boot: str
    before: str | None


def with_servers(before: str | None, servers: Sequence[str], instance: str, boot: str) -> str:
    """`before` with these servers instead of its own. `boot` names this start of the host."""
    lines = [f"nameserver {server}" for server in servers]
    kept = [_KEPT + line if _is_replaced(line) else line for line in (before or "").split("\n")]
    rest = "\n".join([*lines, *kept])
    then = _GOES if before is None else _COMES_BACK
    return f"{MARK}{instance}; {then} (boot {boot}, {_digest(rest)})\n{rest}"


def former(text: str) -> Former | None:
    """None: it is not just what `with_servers` wrote."""
    header = _HEADER.match(text)
    if header is None or _digest(rest := text[header.end() :]) != header["digest"]:
        return None
    lines = rest.split("\n")
    while lines and lines[0].startswith("nameserver "):
        del lines[0]
    before = "\n".join(line.removeprefix(_KEPT) for line in lines)
    return Former(header["instance"], header["boot"], None if header["then"] == _GOES else before)


def _is_replaced(line: str) -> bool:
    return line.lstrip().startswith("nameserver") or line.startswith(_KEPT)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
