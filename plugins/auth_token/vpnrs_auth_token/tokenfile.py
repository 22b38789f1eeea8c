"""The tokens file as text: one line a token (id, hash, name, expiry), comments and blank lines kept. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from vpnrs_auth_token.token import PREFIX, is_token_id
from vpnrs_core.errors import ConfigError

HEADER = """\
# Tokens that this server accepts, one a line: id, hash of the token, name, expiry (or "never").
# The server keeps no token, only its hash. Made and revoked with `vpnrs token new` and `vpnrs token revoke`.
"""
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_SHAPE = "a line is: ID sha256:HASH NAME EXPIRY"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class TokenFileError(ConfigError):
    """A tokens file that cannot be used: file, line and what to do, never anything of the line itself."""


@dataclass(frozen=True)
class Entry:
    """One accepted token. `expires` is POSIX seconds, None: never. `hash` is 64 hexadecimal digits."""

    id: str
    hash: str
    name: str
    expires: float | None = None

    def expired(self, wall: float) -> bool:
        return self.expires is not None and wall >= self.expires

    def line(self) -> str:
        return f"{self.id} sha256:{self.hash} {self.name} {format_expiry(self.expires)}"


@dataclass(frozen=True)
class TokenFile:
    """`lines` are the file's own, `entries` what they say, by id."""

    lines: Sequence[str] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict)

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    def added(self, entry: Entry) -> TokenFile:
        if entry.id in self.entries:
            raise ValueError("this id is in the file already")
        return TokenFile([*self.lines, entry.line()], {**self.entries, entry.id: entry})

    def without(self, ids: set[str]) -> TokenFile:
        """The same with these tokens' lines taken out, every other line as it was."""
        lines = [line for line in self.lines if ids.isdisjoint(_words(line)[:1])]
        return TokenFile(lines, {i: entry for i, entry in self.entries.items() if i not in ids})


def parse_file(text: str, where: str) -> TokenFile:
    """Raises TokenFileError that names `where` and the line."""
    lines = text.removeprefix("\ufeff").split("\n")
    if lines[-1] == "":
        lines.pop()
    lines = [line.removesuffix("\r") for line in lines]
    entries: dict[str, Entry] = {}
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        entry = parse_line(line, f"{where}:{number}")
        if entry is None:
            continue
        if entry.id in seen:
            raise TokenFileError(
                f"{where}:{number}: the same token id as in line {seen[entry.id]}. Remove one of them."
            )
        seen[entry.id] = number
        entries[entry.id] = entry
    return TokenFile(lines, entries)


def parse_line(line: str, where: str) -> Entry | None:
    """None for a comment or a blank line. Raises TokenFileError."""
    words = _words(line)
    if not words:
        return None
    if any(word.startswith(PREFIX) for word in words):
        raise TokenFileError(
            f"{where}: holds a token itself, but a tokens file has only hashes. Take the line out, make a new token "
            f"with `vpnrs token new`, and treat this one as known to everyone who could read the file."
        )
    if len(words) != 4:
        raise TokenFileError(f"{where}: 4 fields expected, {len(words)} found; {_SHAPE}.")
    token_id, hashed, name, expiry = words
    if not is_token_id(token_id):
        raise TokenFileError(f"{where}: field 1 is not a token id (8 of 0-9 a-z without i, l, o, u); {_SHAPE}.")
    if (match := _HASH.fullmatch(hashed)) is None:
        raise TokenFileError(f"{where}: field 2 is not a hash (sha256: and 64 hexadecimal digits); {_SHAPE}.")
    check_name(name, f"{where}: field 3")
    return Entry(token_id, match[1], name, parse_time(expiry, f"{where}: field 4"))


def check_name(name: str, where: str) -> None:
    """Raises TokenFileError when `name` cannot be a principal's. Beginning as a token does is left to tokens, so that
    one in the place of a name is noticed."""
    if _NAME.fullmatch(name) is None or name.startswith(PREFIX):
        raise TokenFileError(
            f"{where} is not a name: 1 to 64 of letters, digits and . _ @ + -, beginning with a letter or digit, not "
            f"with {PREFIX}."
        )


def parse_time(text: str, where: str) -> float | None:
    """`never`, a date or a UTC time → POSIX seconds or None. A date means its first moment, UTC."""
    if text == "never":
        return None
    for shape in (_TIME, "%Y-%m-%d"):
        try:
            return datetime.strptime(text, shape).replace(tzinfo=UTC).timestamp()
        except (ValueError, OverflowError):
            continue
    raise TokenFileError(f"{where} is not an expiry: write never, 2030-12-31 or 2030-12-31T23:59:59Z (UTC).")


def format_expiry(expires: float | None) -> str:
    return "never" if expires is None else datetime.fromtimestamp(expires, UTC).strftime(_TIME)


def _words(line: str) -> list[str]:
    """The fields of a line; a `#` at its start or after a space begins a comment."""
    return re.split(r"(?:^|\s)#", line, maxsplit=1)[0].split()
