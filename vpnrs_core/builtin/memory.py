"""The store `memory`: state of this one process, bounded, forgotten when it ends."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import ClassVar
from weakref import WeakSet

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.store import StoreUnavailable, Value

MAX_VALUE = 64 * 1024


@dataclass
class _Entry:
    data: bytes
    version: int
    until: Seconds | None

    def value(self) -> Value:
        return Value(self.data, self.version.to_bytes(8))


class _Watcher:
    """An iterator over a bounded queue of changed keys; None takes the place of what did not fit.

    The store holds it weakly: who lets go of the iterator has stopped watching, begun or not."""

    def __init__(self, prefix: str, size: int) -> None:
        self._prefix = prefix
        self._size = size
        self._keys: deque[str] = deque()
        self._missed = False
        self._changed = asyncio.Event()

    def tell(self, key: str) -> None:
        if not key.startswith(self._prefix):
            return
        if len(self._keys) < self._size:
            self._keys.append(key)
        else:
            # The reader has to read everything again, so what is queued tells it nothing more.
            self._keys.clear()
            self._missed = True
        self._changed.set()

    def __aiter__(self) -> _Watcher:
        return self

    async def __anext__(self) -> str | None:
        while not self._keys and not self._missed:
            self._changed.clear()
            await self._changed.wait()
        if self._missed:
            self._missed = False
            return None
        return self._keys.popleft()


class MemoryStore:
    """Implements interfaces.Store. `now` is monotonic seconds.

    At most `max_entries` keys and `max_bytes` of values are kept: what has expired makes room; a store still full
    raises StoreUnavailable on a new key, because dropping someone's state silently would be worse."""

    NAME: ClassVar[str] = "memory"

    def __init__(
        self,
        now: Callable[[], Seconds],
        *,
        max_entries: int = 100_000,
        max_bytes: int = 64 << 20,
        watch_size: int = 1024,
    ) -> None:
        self._now = now
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._watch_size = watch_size
        self._entries: dict[str, _Entry] = {}
        self._bytes = 0
        self._last_version = 0
        self._watchers: WeakSet[_Watcher] = WeakSet()
        # No entry expires before this: a full store is not searched for nothing at each write.
        self._next_expiry = math.inf

    async def get(self, key: str) -> Value | None:
        entry = self._live(key)
        return entry.value() if entry else None

    async def put(self, key: str, data: bytes, ttl: Seconds | None = None) -> bytes:
        return self._write(key, data, self._deadline(ttl))

    async def add(self, key: str, data: bytes, ttl: Seconds | None = None) -> bytes | None:
        return None if self._live(key) else self._write(key, data, self._deadline(ttl))

    async def replace(self, key: str, data: bytes, expected_version: bytes, ttl: Seconds | None = None) -> bytes | None:
        entry = self._live(key)
        if entry is None or entry.value().version != expected_version:
            return None
        return self._write(key, data, self._deadline(ttl))

    async def delete(self, key: str, expected_version: bytes | None = None) -> bool:
        entry = self._live(key)
        if entry is None or (expected_version is not None and entry.value().version != expected_version):
            return False
        self._forget(key)
        return True

    async def increment(self, key: str, by: int, window: Seconds) -> int:
        entry = self._live(key)
        number = (int(entry.data) if entry else 0) + by
        self._write(key, str(number).encode(), entry.until if entry else self._deadline(window))
        return number

    async def touch(self, key: str, ttl: Seconds, expected_version: bytes | None = None) -> bool:
        entry = self._live(key)
        if entry is None or (expected_version is not None and entry.value().version != expected_version):
            return False
        entry.until = self._deadline(ttl)
        return True

    async def scan(self, prefix: str, limit: int) -> AsyncIterator[tuple[str, Value]]:
        """At most `limit` entries in the order of their keys, as they are when each is reached."""
        found = 0
        for key in sorted(key for key in self._entries if key.startswith(prefix)):
            entry = self._live(key)
            if entry is None:
                continue
            if found >= limit:
                return
            found += 1
            yield key, entry.value()

    def watch(self, prefix: str) -> AsyncIterator[str | None]:
        """Begins with the call, not with the first step of the iterator."""
        watcher = _Watcher(prefix, self._watch_size)
        self._watchers.add(watcher)
        return watcher

    def _write(self, key: str, data: bytes, until: Seconds | None) -> bytes:
        if len(data) > MAX_VALUE:
            raise ValueError(f"value of {len(data)} bytes for {key!r}: a store holds at most {MAX_VALUE}")
        before = self._live(key)
        growth = len(data) - (len(before.data) if before else 0)
        if self._full(before is None, growth):
            self._forget_expired(keep=key)
            if self._full(before is None, growth):
                raise StoreUnavailable(f"the memory store is full ({len(self._entries)} entries, {self._bytes} bytes)")
        self._last_version += 1
        entry = self._entries[key] = _Entry(bytes(data), self._last_version, until)
        self._bytes += growth
        self._tell(key)
        return entry.value().version

    def _full(self, is_new: bool, growth: int) -> bool:
        return (is_new and len(self._entries) >= self._max_entries) or self._bytes + growth > self._max_bytes

    def _live(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.until is not None and entry.until <= self._now():
            self._forget(key)
            return None
        return entry

    def _forget(self, key: str) -> None:
        self._bytes -= len(self._entries.pop(key).data)
        self._tell(key)

    def _forget_expired(self, keep: str) -> None:
        if self._now() < self._next_expiry:
            return
        for key in list(self._entries):
            if key != keep:
                self._live(key)
        self._next_expiry = min((e.until for e in self._entries.values() if e.until is not None), default=math.inf)

    def _tell(self, key: str) -> None:
        for watcher in list(self._watchers):
            watcher.tell(key)

    def _deadline(self, ttl: Seconds | None) -> Seconds | None:
        if ttl is None:
            return None
        until = self._now() + ttl
        self._next_expiry = min(self._next_expiry, until)
        return until
