"""Stores: shared state of an instance, or of several gateways that act as one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from vpnrs_core.interfaces.common import Seconds


class StoreUnavailable(Exception):
    """The store cannot answer now. Nothing may be concluded from it."""


@dataclass(frozen=True)
class Value:
    """`version` changes at each write and compares for equality only."""

    data: bytes
    version: bytes


class Store(Protocol):
    """Keys are text, values at most 64 KiB of bytes, `ttl` and `window` seconds. Every call may raise
    StoreUnavailable. Nothing on the packet path calls it."""

    NAME: ClassVar[str]

    async def get(self, key: str) -> Value | None: ...
    async def put(self, key: str, data: bytes, ttl: Seconds | None = None) -> bytes:
        """→ the new version."""

    async def add(self, key: str, data: bytes, ttl: Seconds | None = None) -> bytes | None:
        """Only if absent; None: it was there."""

    async def replace(self, key: str, data: bytes, expected_version: bytes, ttl: Seconds | None = None) -> bytes | None:
        """None: the version was another."""

    async def delete(self, key: str, expected_version: bytes | None = None) -> bool: ...
    async def increment(self, key: str, by: int, window: Seconds) -> int:
        """Add to a number that is forgotten `window` seconds after its first increment → the new number."""

    async def touch(self, key: str, ttl: Seconds, expected_version: bytes | None = None) -> bool: ...
    def scan(self, prefix: str, limit: int) -> AsyncIterator[tuple[str, Value]]: ...
    def watch(self, prefix: str) -> AsyncIterator[str | None]:
        """Keys that changed, from now on. None says that some were missed: read again."""
