"""The Context that plugins are given when a configuration is only checked: an instance that never runs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from vpnrs_core.builtin.memory import MemoryStore
from vpnrs_core.config.models import Configuration
from vpnrs_core.errors import ConfigError
from vpnrs_core.events import Event
from vpnrs_core.interfaces import Address, Context, Counter, Gauge, Histogram, Sample, Seen, Session, Store


class _Uncounted:
    def add(self, n: int = 1, *labels: str) -> None:
        """Nothing happens in a check that anyone could read."""

    def set(self, value: float, *labels: str) -> None:
        """As `add`."""

    def observe(self, value: float) -> None:
        """As `add`."""


class DryContext:
    """Implements interfaces.Context with no session, no events and a store of its own."""

    def __init__(self, plugin: str, configuration: Configuration) -> None:
        self._configuration = configuration
        self._log = logging.getLogger(f"vpnrs.{plugin}")
        self._store = MemoryStore(time.monotonic)

    @property
    def role(self) -> Literal["server", "client"]:
        return self._configuration.role

    @property
    def instance(self) -> str:
        return self._configuration.instance

    @property
    def log(self) -> logging.Logger:
        return self._log

    @property
    def store(self) -> Store:
        return self._store

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def random(self, n: int) -> bytes:
        return os.urandom(n)

    def sessions(self) -> Sequence[Session]:
        return ()

    def route(self, address: Address) -> Session | None:
        return None

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        return _Uncounted()

    def gauge(self, name: str, help: str, labels: Sequence[str] = (), unit: str = "") -> Gauge:
        return _Uncounted()

    def histogram(self, name: str, help: str, bounds: Sequence[float], unit: str = "seconds") -> Histogram:
        return _Uncounted()

    def samples(self) -> Iterable[Sample]:
        return ()

    def emit(self, event: Event) -> None:
        """Nobody listens."""

    async def subscribe(self, *types: type[Event], size: int = 256) -> AsyncIterator[Event]:
        """Ends at once: nothing ever happens."""
        none: tuple[Event, ...] = ()
        for event in none:
            yield event

    async def control(self, name: str, request: Mapping[str, Any], *, by: str, write: bool = False) -> Any:
        raise RuntimeError("the configuration is only checked: no instance runs that could be asked")

    def tap(self, session: str, seen: Seen) -> Callable[[], None]:
        raise ConfigError(f"there is no session {session!r}: the configuration is only checked")

    def path(self, relative: str) -> str:
        return str(self._configuration.path(relative))

    def from_thread(self, function: Callable[[], None]) -> None:
        function()

    async def add_link(self, transport: str, where: str, *, via: str | None = None) -> None:
        raise RuntimeError("the configuration is only checked: there is no session to add a link to")


def dry_contexts(configuration: Configuration) -> Callable[[str], Context]:
    """For `load_plugins`, as its `make_context`."""

    def make(plugin: str) -> Context:
        return DryContext(plugin, configuration)

    return make
