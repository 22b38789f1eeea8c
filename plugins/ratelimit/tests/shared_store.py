"""A store that processes of one host share: a file of SQLite, each call a transaction of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from vpnrs_core.interfaces import StoreUnavailable, Value

MAX_VALUE = 64 * 1024
# Changes that a watcher may be behind.
MAX_NEWS = 1000
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, data BLOB, version INTEGER, until REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT);
"""


class SharedStore:
    """interfaces.Store. `now` is a clock that all who share the file have in common."""

    NAME: ClassVar[str] = "shared"

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._now = now
        # Nothing of it is to outlive the host.
        self._file = sqlite3.connect(path, timeout=20, isolation_level=None)
        self._file.executescript(f"PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; {_TABLES}")

    def close(self) -> None:
        self._file.close()

    async def get(self, key: str) -> Value | None:
        with self._alone():
            return self._live(key)

    async def put(self, key: str, data: bytes, ttl: float | None = None) -> bytes:
        with self._alone():
            return self._write(key, data, self._end(ttl))

    async def add(self, key: str, data: bytes, ttl: float | None = None) -> bytes | None:
        with self._alone():
            return None if self._live(key) else self._write(key, data, self._end(ttl))

    async def replace(self, key: str, data: bytes, expected_version: bytes, ttl: float | None = None) -> bytes | None:
        with self._alone():
            found = self._live(key)
            return self._write(key, data, self._end(ttl)) if found and found.version == expected_version else None

    async def delete(self, key: str, expected_version: bytes | None = None) -> bool:
        with self._alone():
            found = self._live(key)
            if found is None or expected_version not in (None, found.version):
                return False
            self._file.execute("DELETE FROM entries WHERE key = ?", (key,))
            self._changed(key)
            return True

    async def increment(self, key: str, by: int, window: float) -> int:
        with self._alone():
            found = self._live(key)
            number = (int(found.data) if found else 0) + by
            [until] = self._file.execute("SELECT until FROM entries WHERE key = ?", (key,)).fetchone() or [None]
            self._write(key, str(number).encode(), until if found else self._end(window))
            return number

    async def touch(self, key: str, ttl: float, expected_version: bytes | None = None) -> bool:
        with self._alone():
            found = self._live(key)
            if found is None or expected_version not in (None, found.version):
                return False
            self._file.execute("UPDATE entries SET until = ? WHERE key = ?", (self._end(ttl), key))
            return True

    async def scan(self, prefix: str, limit: int) -> AsyncIterator[tuple[str, Value]]:
        with self._alone():
            rows = self._file.execute(
                "SELECT key, data, version FROM entries WHERE substr(key, 1, ?) = ? AND ifnull(until > ?, 1) "
                "ORDER BY key LIMIT ?",
                (len(prefix), prefix, self._now(), limit),
            ).fetchall()
        for key, data, version in rows:
            yield key, Value(data, str(version).encode())

    async def watch(self, prefix: str) -> AsyncIterator[str | None]:
        seen = self._newest()
        while True:
            with self._alone():
                rows = self._file.execute("SELECT number, key FROM changes WHERE number > ?", (seen,)).fetchall()
            if rows and rows[0][0] > seen + 1:
                yield None
            for number, key in rows:
                seen = number
                if key.startswith(prefix):
                    yield key
            await asyncio.sleep(0.01)  # another process tells nobody

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error

    def _end(self, ttl: float | None) -> float | None:
        return None if ttl is None else self._now() + ttl

    def _live(self, key: str) -> Value | None:
        row = self._file.execute(
            "SELECT data, version FROM entries WHERE key = ? AND ifnull(until > ?, 1)", (key, self._now())
        ).fetchone()
        return None if row is None else Value(row[0], str(row[1]).encode())

    def _write(self, key: str, data: bytes, until: float | None) -> bytes:
        if len(data) > MAX_VALUE:
            raise ValueError(f"a value of {len(data)} bytes; {MAX_VALUE} are the most")
        version = self._changed(key)
        self._file.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", (key, data, version, until))
        return str(version).encode()

    def _changed(self, key: str) -> int:
        """→ the number of this change, which no other has."""
        number = self._file.execute("INSERT INTO changes (key) VALUES (?)", (key,)).lastrowid or 0
        self._file.execute("DELETE FROM changes WHERE number <= ?", (number - MAX_NEWS,))
        return number

    def _newest(self) -> int:
        with self._alone():
            return int(self._file.execute("SELECT ifnull(max(number), 0) FROM changes").fetchone()[0])
