"""The Context of a plugin under test: real counters, events and store, on a clock that the test holds."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from vpnrs_core.builtin.memory import MemoryStore
from vpnrs_core.config.models import Configuration
from vpnrs_core.counters import Registry
from vpnrs_core.engine.bus import EventBus
from vpnrs_core.errors import HostError
from vpnrs_core.events import Event
from vpnrs_core.interfaces import Address, Counter, Gauge, Histogram, Sample, Session, Store
from vpnrs_core.plugins.dry_context import DryContext
from vpnrs_core.testkit.clock import Clock


class KitContext(DryContext):
    """Implements interfaces.Context. `events` is all that was emitted; `open_sessions` what `sessions()` returns,
    `answers` what `control` answers, by name."""

    def __init__(self, plugin: str, configuration: Configuration, clock: Clock) -> None:
        super().__init__(plugin, configuration)
        self.plugin = plugin
        self.clock = clock
        # Files and credentials that a test makes bear today's date, so today is where the test's clock begins.
        self._midnight = time.time() - clock()
        self.events: list[Event] = []
        self.open_sessions: list[Session] = []
        self.answers: dict[str, Any] = {}
        self.counters = Registry()
        self._bus = EventBus()
        self._bus.listen(self.events.append)
        self._kept = MemoryStore(clock)

    @property
    def store(self) -> Store:
        return self._kept

    def now(self) -> float:
        return self.clock()

    def wall(self) -> float:
        return self._midnight + self.clock()

    def sessions(self) -> Sequence[Session]:
        return tuple(self.open_sessions)

    def route(self, address: Address) -> Session | None:
        return next((each for each in self.open_sessions if address in each.leases), None)

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        return self.counters.counter(self.plugin, name, help, labels)

    def gauge(self, name: str, help: str, labels: Sequence[str] = (), unit: str = "") -> Gauge:
        return self.counters.gauge(self.plugin, name, help, labels, unit)

    def histogram(self, name: str, help: str, bounds: Sequence[float], unit: str = "seconds") -> Histogram:
        return self.counters.histogram(self.plugin, name, help, bounds, unit)

    def samples(self) -> Iterable[Sample]:
        return self.counters.samples()

    def emit(self, event: Event) -> None:
        self._bus.emit(event)

    def subscribe(self, *types: type[Event], size: int = 256) -> AsyncIterator[Event]:
        return self._bus.subscribe(*types, size=size)

    async def control(self, name: str, request: Mapping[str, Any], *, by: str, write: bool = False) -> Any:
        return self.answers[name]

    async def add_link(self, transport: str, where: str, *, via: str | None = None) -> NoReturn:
        raise HostError(f"a second link to {where} cannot be added: this release carries one link a session")
