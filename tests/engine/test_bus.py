"""Events reach their readers, and a slow reader costs only itself."""

import asyncio

from vpnrs_core.engine.bus import EventBus
from vpnrs_core.events import InstanceStopping, Missed, ServiceRestarted
from vpnrs_core.testkit.clock import on_clock


def stopping(n):
    return InstanceStopping(reason=str(n))


async def take(iterator, count):
    return [await anext(iterator) for _ in range(count)]


@on_clock
async def test_a_reader_that_is_too_slow_learns_how_many_it_missed():
    bus = EventBus()
    slow, quick = bus.subscribe(size=3), bus.subscribe(size=100)
    for n in range(10):
        bus.emit(stopping(n))
    first = await take(slow, 4)
    assert [event.reason for event in first[:3]] == ["0", "1", "2"]
    assert isinstance(first[3], Missed)
    assert first[3].count == 7
    bus.emit(stopping("later"))
    assert (await anext(slow)).reason == "later"
    assert [event.reason for event in await take(quick, 10)] == [str(n) for n in range(10)]


@on_clock
async def test_a_reader_gets_only_its_types_and_misses_only_those():
    bus = EventBus()
    reader = bus.subscribe(InstanceStopping, size=1)
    for _ in range(5):
        bus.emit(ServiceRestarted(plugin="p", service="s", error="e", again_in=1.0))
    bus.emit(stopping("mine"))
    assert (await anext(reader)).reason == "mine"
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(1)
    assert not waiting.done()
    bus.emit(stopping("next"))
    assert (await waiting).reason == "next"


@on_clock
async def test_a_closed_subscription_is_forgotten():
    bus = EventBus()
    reader = bus.subscribe()
    bus.emit(stopping(1))
    await anext(reader)
    await reader.aclose()
    assert not bus._subscriptions


@on_clock
async def test_an_event_gets_its_time_when_its_maker_gave_none():
    seen = []
    bus = EventBus()
    bus.listen(seen.append)
    bus.emit(stopping(1))
    bus.emit(InstanceStopping(reason="dated", at=5.0))
    assert seen[0].at > 1e9
    assert seen[1].at == 5.0
