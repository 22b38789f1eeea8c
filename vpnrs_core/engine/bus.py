"""The event bus: one emit, many bounded subscribers, none of which can delay a packet."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from vpnrs_core.events import Event, Missed


class Subscription:
    """A bounded queue of events. What does not fit is counted and told as Missed(count) before the next event."""

    def __init__(self, types: tuple[type[Event], ...], size: int, forget: Callable[[Subscription], None]) -> None:
        self._types = types
        self._queue: deque[Event] = deque()
        self._size = size
        self._missed = 0
        self._wakeup = asyncio.Event()
        self._forget = forget

    def offer(self, event: Event) -> None:
        """Take the event if its type is wanted and there is room."""
        if self._types and not isinstance(event, self._types):
            return
        if len(self._queue) >= self._size:
            self._missed += 1
        else:
            self._queue.append(event)
        self._wakeup.set()

    async def events(self) -> AsyncIterator[Event]:
        """Events in order, without end. Closing the iterator ends the subscription."""
        try:
            while True:
                while self._queue:
                    yield self._queue.popleft()
                if self._missed:
                    missed, self._missed = self._missed, 0
                    yield Missed(count=missed, at=time.time())
                    continue  # what came while the reader was busy with it must not wait for the next event
                self._wakeup.clear()
                await self._wakeup.wait()
        finally:
            self._forget(self)


class EventBus:
    """Hands each event to the listeners at once and to subscribers through their queues."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        """For the core's own readers (the log): called in `emit`, must be quick and must not raise."""
        self._listeners.append(listener)

    def emit(self, event: Event) -> None:
        """Tell everyone. Sets `at` when the maker left it 0."""
        if event.at == 0.0:
            event = replace(event, at=time.time())
        for listener in self._listeners:
            listener(event)
        for subscription in self._subscriptions:
            subscription.offer(event)

    def subscribe(self, *types: type[Event], size: int = 256) -> AsyncIterator[Event]:
        """Events from now on; see interfaces.Context.subscribe."""
        subscription = Subscription(types, size, self._forget)
        self._subscriptions.append(subscription)
        return subscription.events()

    def _forget(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
