"""Services that end are started again, later each time, and told."""

import asyncio
import sys

from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.services import ServiceRunner
from vpnrs_core.events import ServiceRestarted
from vpnrs_core.testkit.clock import on_clock


class Failing:
    NAME = "failing"

    def __init__(self, lasts=0.0):
        self.starts, self.lasts = [], lasts

    async def run(self):
        self.starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.lasts)
        if len(self.starts) % 2:
            raise RuntimeError("died")


class Steady:
    NAME = "steady"

    def __init__(self):
        self.starts = 0
        self.ended = False

    async def run(self):
        self.starts += 1
        try:
            await asyncio.sleep(3600)
        finally:
            self.ended = True


def runner(*services):
    bus = EventBus()
    events = []
    bus.listen(events.append)
    return ServiceRunner([(f"p_{service.NAME}", service) for service in services], bus), events


@on_clock
async def test_a_dying_service_is_started_again_with_growing_waits_and_harms_no_other():
    failing, steady = Failing(), Steady()
    services, events = runner(failing, steady)
    services.start()
    await asyncio.sleep(200)
    await services.stop()
    waits = [b - a for a, b in zip(failing.starts, failing.starts[1:], strict=False)]
    assert waits[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert steady.starts == 1
    assert steady.ended
    told = [event for event in events if isinstance(event, ServiceRestarted)]
    assert {event.plugin for event in told} == {"p_failing"}
    assert told[0].error.startswith("RuntimeError: died (")
    assert "test_services.py:" in told[0].error
    assert told[1].error == "returned"
    assert [event.again_in for event in told[:3]] == [1, 2, 4]


@on_clock
async def test_a_service_that_exits_ends_itself_only():
    class Exits:
        NAME = "exits"

        async def run(self):
            sys.exit(3)

    services, events = runner(Exits())
    services.start()
    await asyncio.sleep(10)
    await services.stop()
    assert events[0].error.startswith("SystemExit: 3 (")


@on_clock
async def test_a_service_that_awaits_what_it_cancelled_is_told_and_started_again():
    """It is not the end that others wanted."""

    class Cancels:
        NAME = "cancels"

        async def run(self):
            other = asyncio.ensure_future(asyncio.sleep(3600))
            other.cancel()
            await other

    services, events = runner(Cancels())
    services.start()
    await asyncio.sleep(2)
    await services.stop()
    assert len(events) == 2
    assert events[0].error.startswith("CancelledError (")


@on_clock
async def test_a_service_that_lasted_is_started_again_at_once():
    lasting = Failing(lasts=61)
    services, events = runner(lasting)
    services.start()
    await asyncio.sleep(300)
    await services.stop()
    assert {event.again_in for event in events} == {1}


@on_clock
async def test_a_service_that_cannot_even_be_called_is_told_like_one_that_died():
    class Broken:
        NAME = "broken"

        def run(self):
            raise TypeError("no coroutine")

    services, events = runner(Broken())
    services.start()
    await asyncio.sleep(10)
    await services.stop()
    assert events[0].error.startswith("TypeError: no coroutine (")


@on_clock
async def test_a_service_that_does_not_let_itself_be_cancelled_is_named_and_left():
    class Clinging:
        NAME = "clinging"

        def __init__(self):
            self.let_go = False

        async def run(self):
            while not self.let_go:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    continue

    clinging = Clinging()
    services, events = runner(clinging)
    services.start()
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    await services.stop()
    assert asyncio.get_running_loop().time() - began <= 1
    (failed,) = events
    assert (failed.plugin, failed.hook) == ("p_clinging", "run")
    assert failed.error == "service 'clinging' did not end within 1 s of being cancelled; it is left behind"
    clinging.let_go = True
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
