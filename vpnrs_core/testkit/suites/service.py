"""The contract of services: they run until they are cancelled, let themselves be cancelled, and start again."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from vpnrs_core.testkit.suites.base import Suite, is_named, run

# Seconds that the core waits for a cancelled service.
STOP_DEADLINE = 1.0
# Real seconds that a service is watched: long enough to fail at once, short enough for a test.
WATCHED = 0.2


class ServiceSuite(Suite):
    """`subject` is the service."""

    kind: ClassVar[str] = "service"

    def test_it_has_a_name(self, subject: Any) -> None:
        assert is_named(subject)

    def test_it_runs_until_it_is_cancelled_and_then_ends(self, subject: Any) -> None:
        run(self.once(subject))

    def test_it_can_be_started_again(self, subject: Any) -> None:
        async def twice() -> None:
            await self.once(subject)
            await self.once(subject)

        run(twice())

    def test_it_leaves_no_task_behind(self, subject: Any) -> None:
        async def count() -> list[str]:
            before = asyncio.all_tasks()
            await self.once(subject)
            await asyncio.sleep(0)
            return [str(task.get_coro()) for task in asyncio.all_tasks() - before]

        assert run(count()) == []

    async def once(self, subject: Any) -> None:
        task = asyncio.create_task(subject.run())
        done, _ = await asyncio.wait([task], timeout=WATCHED)
        if done:
            error = task.exception()
            raise AssertionError(f"the service ended by itself: {error!r}" if error else "the service returned")
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=STOP_DEADLINE)
        assert done, f"the service did not end within {STOP_DEADLINE:g} s of being cancelled"
        assert task.cancelled() or task.exception() is None, f"cancelling made it raise {task.exception()!r}"
