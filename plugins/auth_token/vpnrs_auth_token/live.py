"""The tokens a running server accepts: judged in constant time, and read again when their file changes."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vpnrs_auth_token.files import read_text, unreadable
from vpnrs_auth_token.token import TokenError, hash_token, parse_token
from vpnrs_auth_token.tokenfile import Entry, TokenFileError, format_expiry, parse_file, parse_line
from vpnrs_core.interfaces import Principal

# The claim of a principal that holds the public id of its token.
CLAIM = "auth_token"
# Polls in a row without a file before its tokens end: some editors take the old file away before the new one is there.
_ABSENT_POLLS = 2
# A file changed this recently, in seconds, may change again without another time stamp.
_UNSETTLED = 2.0

Signature = tuple[int, int, int, int]


@dataclass(frozen=True)
class Refreshed:
    """What a look at the file found. `gone` are ids that vanished or got another hash; `error` is set when the file
    cannot be used, and then the tokens of before go on."""

    gone: frozenset[str] = frozenset()
    count: int = 0
    error: str = ""


class LiveTokens:
    """The tokens of a file and of the configuration itself. `where` names the configuration's list, for errors."""

    def __init__(self, path: Path | None, inline: Sequence[str] = (), where: str = "tokens_inline") -> None:
        """Raises TokenFileError."""
        self._path = path
        self._inline: dict[str, Entry] = {}
        for number, line in enumerate(inline, 1):
            entry = parse_line(line, f"{where}: item {number}")
            if entry is not None and self._inline.setdefault(entry.id, entry) is not entry:
                raise TokenFileError(f"{where}: item {number}: the same token id as in an earlier item. Remove one.")
        self._entries: Mapping[str, Entry] = self._inline
        self._text: str | None = None
        self._signature: Signature | None = None
        self._absent = 0
        self._error = ""
        if path is not None:
            try:
                self._signature = _signature(path)
                self._take(read_text(path))
            except OSError as error:
                raise TokenFileError(unreadable(path, error)) from None

    def __len__(self) -> int:
        return len(self._entries)

    def judge(self, text: str, wall: float) -> Principal | str:
        """The principal of a presented token, or why there is none (for the log; nothing of the secret in it).

        Hashes are compared in constant time, for an unknown id with a dummy. Whether a text is well formed is no
        secret: everyone can compute the checksum."""
        try:
            token = parse_token(text)
        except TokenError as error:
            return f"the client's token is malformed ({error})"
        entry = self._entries.get(token.id)
        same = hmac.compare_digest(hash_token(token), entry.hash if entry is not None else _DUMMY)
        if entry is None:
            return f"token {token.id} is unknown or revoked"
        if not same:
            return f"token {token.id} is known, but its secret is another"
        if entry.expired(wall):
            return f"token {token.id} of {entry.name} expired at {format_expiry(entry.expires)}"
        return Principal(entry.name, entry.expires, {CLAIM: entry.id})

    def entry(self, token_id: str) -> Entry | None:
        return self._entries.get(token_id)

    def refresh(self, wall: float) -> Refreshed | None:
        """Look at the file; None: nothing new. An error is told once, until the file changes again."""
        if self._path is None:
            return None
        try:
            signature = _signature(self._path)
            if signature == self._signature and wall - signature[0] / 1e9 > _UNSETTLED:
                return None
            text = read_text(self._path)
        except FileNotFoundError as error:
            return self._file_is_absent(unreadable(self._path, error))
        except (OSError, TokenFileError) as error:
            return self._failed(unreadable(self._path, error) if isinstance(error, OSError) else str(error))
        self._absent, self._signature = 0, signature
        if text == self._text:
            self._error = ""
            return None
        try:
            gone = self._take(text)
        except TokenFileError as error:
            return self._failed(str(error))
        self._error = ""
        return Refreshed(gone, len(self._entries))

    def _take(self, text: str) -> frozenset[str]:
        read = parse_file(text, str(self._path)).entries
        if twice := read.keys() & self._inline.keys():
            raise TokenFileError(f"{self._path}: token {min(twice)} is in tokens_inline as well. Remove one of them.")
        return self._replace({**self._inline, **read}, text)

    def _replace(self, entries: Mapping[str, Entry], text: str | None) -> frozenset[str]:
        before, self._entries, self._text = self._entries, entries, text
        return frozenset(i for i, old in before.items() if i not in entries or entries[i].hash != old.hash)

    def _file_is_absent(self, error: str) -> Refreshed | None:
        """Failing closed: who takes the file away wants nobody to come in with it."""
        self._absent += 1
        if self._absent != _ABSENT_POLLS:
            return None
        self._signature = None
        return Refreshed(self._replace(self._inline, None), len(self._inline), error)

    def _failed(self, error: str) -> Refreshed | None:
        if error == self._error:
            return None
        self._error = error
        return Refreshed(count=len(self._entries), error=error)


_DUMMY = "0" * 64


def _signature(path: Path) -> Signature:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ino, status.st_size, status.st_dev
