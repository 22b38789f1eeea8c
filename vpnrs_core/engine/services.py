"""Services: plugins' tasks, restarted with backoff when they end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from vpnrs_core.engine.bus import EventBus
from vpnrs_core.events import ServiceRestarted
from vpnrs_core.interfaces import Service

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
STABLE = 60.0
STOP_DEADLINE = 1.0


class ServiceRunner:
    """Keeps services running until `stop`. A service that dies harms nobody else."""

    def __init__(self, services: Sequence[tuple[str, Service]], bus: EventBus) -> None:
        self._services = services
        self._bus = bus
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._keep(plugin, service)) for plugin, service in self._services]

    async def stop(self) -> None:
        """Cancel all. One that does not let itself be cancelled is left behind after a while."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_DEADLINE)
        self._tasks = []

    async def _keep(self, plugin: str, service: Service) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        while True:
            started = loop.time()
            try:
                await service.run()
                error = "returned"
            except Exception as exc:
                error = f"{type(exc).__name__}: {exc}"
            if self._stopping:
                return  # it swallowed its end, and is not begun again
            if loop.time() - started > STABLE:
                delay = FIRST_DELAY
            self._bus.emit(ServiceRestarted(plugin=plugin, service=service.NAME, error=error, again_in=delay))
            await asyncio.sleep(delay)
            delay = min(LONGEST_DELAY, delay * 2)
