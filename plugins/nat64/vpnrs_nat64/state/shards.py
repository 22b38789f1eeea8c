"""A dict in parts. A dict that outgrows its memory moves all that it holds at once, which for a hundred thousand items
stops the server for longer than a packet may wait; a part has a sixteenth to move, and no two parts do it together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

V = TypeVar("V")
_PARTS = 16


class Shards(Generic[V]):
    """As a dict with keys of bytes, as far as it is needed here. Values come in the order of the parts."""

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._parts: tuple[dict[bytes, V], ...] = tuple({} for _ in range(_PARTS))

    def _part(self, key: bytes) -> dict[bytes, V]:
        # The upper bits: the lower ones find the place inside of the part.
        return self._parts[hash(key) >> 56 & _PARTS - 1]

    def get(self, key: bytes) -> V | None:
        return self._part(key).get(key)

    def __getitem__(self, key: bytes) -> V:
        return self._part(key)[key]

    def __setitem__(self, key: bytes, value: V) -> None:
        part = self._part(key)
        before = len(part)
        part[key] = value
        self._size += len(part) - before

    def __delitem__(self, key: bytes) -> None:
        del self._part(key)[key]
        self._size -= 1

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and key in self._part(key)

    def __len__(self) -> int:
        return self._size

    def values(self) -> Iterator[V]:
        return chain.from_iterable(part.values() for part in self._parts)
