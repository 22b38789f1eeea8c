"""Services: tasks that live as long as the instance."""

from __future__ import annotations

from typing import ClassVar, Protocol


class Service(Protocol):
    NAME: ClassVar[str]

    async def run(self) -> None:
        """Runs until cancelled. If it raises or returns it is started again with backoff, 1 to 60 s, and the event
        `service_restarted` says so."""
