"""The Context that each plugin is given: a narrow, named view of the instance."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from vpnrs_core.counters import Registry
from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.containment import FailureReporter
from vpnrs_core.engine.logs import LOGGER
from vpnrs_core.events import Event
from vpnrs_core.interfaces import (
    Address,
    Counter,
    Direction,
    Gauge,
    Histogram,
    Packet,
    Sample,
    Seconds,
    Seen,
    Session,
    Store,
    StoreUnavailable,
    Value,
)


class InstanceView(Protocol):
    """What contexts may reach of the running instance."""

    @property
    def role(self) -> Literal["server", "client"]: ...
    @property
    def name(self) -> str: ...
    @property
    def bus(self) -> EventBus: ...
    @property
    def reporter(self) -> FailureReporter: ...
    @property
    def counters(self) -> Registry: ...
    def path(self, relative: str) -> Path: ...
    def store(self) -> Store: ...
    def sessions(self) -> Sequence[Session]: ...
    def route(self, address: Address) -> Session | None: ...
    async def control(self, name: str, request: Mapping[str, Any], *, by: str, write: bool) -> Any: ...
    def tap(self, session: str, seen: Seen) -> Callable[[], None]: ...
    async def add_link(self, transport: str, where: str, via: str | None) -> None: ...


class PluginContext:
    """Implements interfaces.Context for one plugin."""

    def __init__(self, plugin: str, instance: InstanceView, loop: asyncio.AbstractEventLoop) -> None:
        self._plugin = plugin
        self._instance = instance
        self._loop = loop
        self._log = logging.getLogger(f"{LOGGER}.{plugin}")

    @property
    def role(self) -> Literal["server", "client"]:
        return self._instance.role

    @property
    def instance(self) -> str:
        return self._instance.name

    @property
    def log(self) -> logging.Logger:
        return self._log

    @property
    def store(self) -> Store:
        return NamespacedStore(self._plugin + "/", self._instance.store)

    def now(self) -> Seconds:
        return time.monotonic()

    def wall(self) -> Seconds:
        return time.time()

    def random(self, n: int) -> bytes:
        return os.urandom(n)

    def sessions(self) -> Sequence[Session]:
        return self._instance.sessions()

    def route(self, address: Address) -> Session | None:
        return self._instance.route(address)

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        return self._instance.counters.counter(self._plugin, name, help, labels)

    def gauge(self, name: str, help: str, labels: Sequence[str] = (), unit: str = "") -> Gauge:
        return self._instance.counters.gauge(self._plugin, name, help, labels, unit)

    def histogram(self, name: str, help: str, bounds: Sequence[float], unit: str = "seconds") -> Histogram:
        return self._instance.counters.histogram(self._plugin, name, help, bounds, unit)

    def samples(self) -> Iterable[Sample]:
        return self._instance.counters.samples()

    def emit(self, event: Event) -> None:
        self._instance.bus.emit(event)

    def subscribe(self, *types: type[Event], size: int = 256) -> AsyncIterator[Event]:
        return self._instance.bus.subscribe(*types, size=size)

    async def control(self, name: str, request: Mapping[str, Any], *, by: str, write: bool = False) -> Any:
        return await self._instance.control(name, request, by=f"{self._plugin}:{by}", write=write)

    def tap(self, session: str, seen: Seen) -> Callable[[], None]:
        ended = False

        def contained(point: str, direction: Direction, packet: Packet | None, reason: str) -> None:
            nonlocal ended
            if ended:
                return
            try:
                seen(point, direction, packet, reason)
            except Exception as exc:
                ended = True
                end()
                self._instance.reporter.report(self._plugin, "tap", exc, self._loop.time())

        end = self._instance.tap(session, contained)
        return end

    def path(self, relative: str) -> str:
        return str(self._instance.path(relative))

    def from_thread(self, function: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(function)

    async def add_link(self, transport: str, where: str, *, via: str | None = None) -> None:
        await self._instance.add_link(transport, where, via)


class NamespacedStore:
    """A plugin's part of the configured store. The store itself is chosen after the plugins have loaded, so it is
    looked up at each call."""

    NAME: ClassVar[str] = "namespaced"

    def __init__(self, prefix: str, store: Callable[[], Store]) -> None:
        self._prefix = prefix
        self._store = store

    def _reach(self) -> Store:
        try:
            return self._store()
        except LookupError as exc:
            raise StoreUnavailable(str(exc)) from exc

    async def get(self, key: str) -> Value | None:
        return await self._reach().get(self._prefix + key)

    async def put(self, key: str, data: bytes, ttl: Seconds | None = None) -> bytes:
        return await self._reach().put(self._prefix + key, data, ttl)

    async def add(self, key: str, data: bytes, ttl: Seconds | None = None) -> bytes | None:
        return await self._reach().add(self._prefix + key, data, ttl)

    async def replace(self, key: str, data: bytes, expected_version: bytes, ttl: Seconds | None = None) -> bytes | None:
        return await self._reach().replace(self._prefix + key, data, expected_version, ttl)

    async def delete(self, key: str, expected_version: bytes | None = None) -> bool:
        return await self._reach().delete(self._prefix + key, expected_version)

    async def increment(self, key: str, by: int, window: Seconds) -> int:
        return await self._reach().increment(self._prefix + key, by, window)

    async def touch(self, key: str, ttl: Seconds, expected_version: bytes | None = None) -> bool:
        return await self._reach().touch(self._prefix + key, ttl, expected_version)

    async def scan(self, prefix: str, limit: int) -> AsyncIterator[tuple[str, Value]]:
        async for key, value in self._reach().scan(self._prefix + prefix, limit):
            yield key.removeprefix(self._prefix), value

    async def watch(self, prefix: str) -> AsyncIterator[str | None]:
        async for key in self._reach().watch(self._prefix + prefix):
            yield None if key is None else key.removeprefix(self._prefix)
