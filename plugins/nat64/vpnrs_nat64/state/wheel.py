"""The timer wheel: sessions by the second in which they are to be looked at. Adding, moving and removing cost the same
however many there are."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Generic, Protocol, TypeVar


class Timed(Protocol):
    """A view of `raw`, which is what the wheel keeps. `deadline`, monotonic seconds, may be put off without telling
    the wheel; `slot` is the wheel's own."""

    deadline: float
    slot: int

    @property
    def raw(self) -> Any: ...


T = TypeVar("T", bound=Timed)
NO_SLOT = -1


class Wheel(Generic[T]):
    """Slots of one second. An item comes out after its deadline, at most a second late."""

    def __init__(self, view: Callable[[Any], T]) -> None:
        self._view = view
        self._slots: dict[int, dict[int, Any]] = {}
        self._order: list[int] = []

    def schedule(self, item: T) -> None:
        """Put the item where its deadline says. To be called when it is new, and when the deadline came nearer: one
        that was put off is found out when its slot's time comes."""
        slot = int(item.deadline) + 1
        if item.slot != NO_SLOT:
            if item.slot <= slot:
                return
            self.remove(item)
        items = self._slots.get(slot)
        if items is None:
            items = self._slots[slot] = {}
            heappush(self._order, slot)
        items[id(item.raw)] = item.raw
        item.slot = slot

    def remove(self, item: T) -> None:
        items = self._slots.get(item.slot)
        if items is not None:
            items.pop(id(item.raw), None)
        item.slot = NO_SLOT

    def due(self, now: float, limit: int) -> list[T]:
        """At most about `limit` items whose deadline has passed; they are out of the wheel. One looked at and found to
        have been put off goes to its new slot and counts as well: the work of a call is bounded."""
        found: list[T] = []
        while self._order and self._order[0] <= now and limit > 0:
            slot = self._order[0]
            items = self._slots[slot]
            while items and limit > 0:
                item = self._view(items.popitem()[1])
                item.slot = NO_SLOT
                limit -= 1
                if item.deadline > now:
                    self.schedule(item)
                else:
                    found.append(item)
            if not items:
                heappop(self._order)
                del self._slots[slot]
        return found

    def next(self) -> float | None:
        """When `due` has something to look at."""
        return float(self._order[0]) if self._order else None
