"""Services: plugins' tasks, restarted with backoff when they end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.containment import RAISED, FailureReporter, cancelled_by_others, describe
from vpnrs_core.events import ServiceRestarted
from vpnrs_core.interfaces import Service

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
STABLE = 60.0
STOP_DEADLINE = 1.0


class ServiceRunner:
    """Keeps services running until `stop`. A service that dies harms nobody else."""

    def __init__(
        self, services: Sequence[tuple[str, Service]], bus: EventBus, reporter: FailureReporter | None = None
    ) -> None:
        """`reporter` counts what did not end, None: a reporter of its own."""
        self._services = services
        self._bus = bus
        self._reporter = reporter or FailureReporter(bus)
        self._tasks: dict[asyncio.Task[None], tuple[str, str]] = {}  # → plugin, service
        self._stopping = False

    def start(self) -> None:
        for plugin, service in self._services:
            task = asyncio.create_task(self._keep(plugin, service), name=f"service {service.NAME} of {plugin}")
            self._tasks[task] = (plugin, service.NAME)

    async def stop(self) -> None:
        """Cancel all. One that does not let itself be cancelled is named after a while, and left behind."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, clinging = await asyncio.wait(self._tasks, timeout=STOP_DEADLINE)
            for task in clinging:
                plugin, service = self._tasks[task]
                text = (
                    f"service {service!r} did not end within {STOP_DEADLINE:g} s of being cancelled; it is left behind"
                )
                self._reporter.report(plugin, "run", text, asyncio.get_running_loop().time())
        self._tasks = {}

    async def _keep(self, plugin: str, service: Service) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        while True:
            started = loop.time()
            try:
                await service.run()
                error = "returned"
            except RAISED as exc:
                if isinstance(exc, asyncio.CancelledError) and cancelled_by_others():
                    raise
                error = describe(exc)
            if self._stopping:
                return  # it swallowed its end, and is not begun again
            if loop.time() - started > STABLE:
                delay = FIRST_DELAY
            self._bus.emit(ServiceRestarted(plugin=plugin, service=service.NAME, error=error, again_in=delay))
            await asyncio.sleep(delay)
            delay = min(LONGEST_DELAY, delay * 2)
