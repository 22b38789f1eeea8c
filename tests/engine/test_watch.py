"""Who is named for a loop that stood still, and who is not: looks at real frames, at times that the test holds."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from vpnrs_core.engine.containment import Owners
from vpnrs_core.engine.watch import BOUND, INTERVAL, QUIET, STUCK, Judgement, Reading, Watch
from vpnrs_core.events import PluginSlow
from vpnrs_core.plugins.registry import Registry

CODE = """
def work(*steps):
    for step in steps: step()

async def serve(*steps):
    for step in steps:
        step()
        await sleep(0)
"""


def module(name: str) -> Any:
    names: dict[str, Any] = {"__name__": name, "sleep": asyncio.sleep}
    exec(CODE, names)
    return SimpleNamespace(**names)


ROOMS, ENGINE, CORE = module("acme_rooms.deep"), module("acme_engine"), module("vpnrs_core.pipeline")


def make_owners() -> Owners:
    loaded = [
        SimpleNamespace(name=name, builtin=name == "core", plugin=type("P", (), {"__module__": module})())
        for name, module in {"rooms": "acme_rooms.plugin", "engine": "acme_engine", "core": "vpnrs_core.x"}.items()
    ]
    return Owners(SimpleNamespace(loaded=loaded, registry=Registry()))  # type: ignore[arg-type]


class World:
    """Time of the loop's thread: `ran`, `blocked` and `starved` let it pass, and a look follows."""

    def __init__(self) -> None:
        self.slow: list[PluginSlow] = []
        self.stuck: list[PluginSlow] = []
        self.judgement = Judgement(make_owners(), self.slow.append, self.stuck.append)
        self.wall = self.cpu = self.wait = 0.0

    def look(self) -> None:
        self.judgement.look(sys._getframe(), lambda: Reading(self.wall, self.cpu, self.wait))

    def ran(self, seconds: float = INTERVAL) -> Callable[[], None]:
        def step() -> None:
            self.wall += seconds
            self.cpu += seconds
            self.look()

        return step

    def blocked(self, seconds: float = INTERVAL) -> Callable[[], None]:
        def step() -> None:
            self.wall += seconds
            self.look()

        return step

    def starved(self, seconds: float = INTERVAL, *, late: float = 0.0) -> Callable[[], None]:
        """Ready, and not run. The kernel says so when it is over, `late` seconds of it not before the next."""

        def step() -> None:
            self.wall += seconds
            self.wait += seconds - late
            self.look()
            self.wait += late

        return step

    async def turn(self, call: Callable[[], object]) -> None:
        """In a turn of its own, and then a look at the loop when it is over."""
        for each in (call, self.look):
            done = asyncio.Event()

            def run(each: Callable[[], object] = each, done: asyncio.Event = done) -> None:
                each()
                done.set()

            asyncio.get_running_loop().call_soon(run)
            await done.wait()


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("kind", ["ran", "blocked"])
async def test_a_call_that_is_too_long_is_named_when_it_is_over(world: World, kind: str) -> None:
    step = getattr(world, kind)

    def call() -> None:
        ROOMS.work(world.look, step(), step(), step())
        assert not world.slow

    await world.turn(call)
    (told,) = world.slow
    assert (told.plugin, told.what, told.seconds) == ("rooms", "work", round(3 * INTERVAL, 2))
    assert told.where.startswith("<string>:")
    assert world.judgement.counts == {"rooms": 1}
    assert not world.stuck


async def test_shorter_calls_are_not_named_however_many_there_are(world: World) -> None:
    for _ in range(50):
        await world.turn(lambda: ROOMS.work(world.look, world.ran(BOUND * 0.9)))
    await world.turn(lambda: [ROOMS.work(world.look, world.ran(BOUND * 0.9)) for _ in range(50)])
    assert world.judgement.counts == {}


async def test_the_steps_of_a_task_are_calls_of_their_own(world: World) -> None:
    """Its frame is the same in all of them."""
    await asyncio.create_task(ROOMS.serve(*[world.ran(BOUND * 0.9) for _ in range(20)]))
    assert world.judgement.counts == {}

    def long() -> None:
        for step in (world.look, world.ran(), world.ran()):
            step()

    await asyncio.create_task(ROOMS.serve(long))
    await world.turn(world.look)
    assert [(told.plugin, told.what) for told in world.slow] == [("rooms", "serve")]


async def test_the_innermost_plugin_is_named(world: World) -> None:
    await world.turn(lambda: ENGINE.work(lambda: CORE.work(lambda: ROOMS.work(world.look, world.ran(), world.ran()))))
    assert [told.plugin for told in world.slow] == ["rooms"]


async def test_the_core_is_not_named(world: World) -> None:
    await world.turn(lambda: CORE.work(world.look, world.ran(), world.ran(), world.ran()))
    assert world.judgement.counts == {}


async def test_a_starved_machine_is_nobodys_fault(world: World) -> None:
    await world.turn(lambda: ROOMS.work(world.look, *[world.starved() for _ in range(100)], world.ran(BOUND * 0.9)))
    await world.turn(lambda: ROOMS.work(world.look, world.starved(), world.starved(INTERVAL * 4, late=INTERVAL * 4)))
    assert world.judgement.counts == {}


async def test_a_process_that_was_stopped_is_nobodys_fault(world: World) -> None:
    """Neither thread ran, and the kernel calls it no wait."""
    await world.turn(lambda: ROOMS.work(world.look, world.blocked(3600.0)))
    assert world.judgement.counts == {}


async def test_computing_is_counted_also_where_it_kept_the_watch_from_looking(world: World) -> None:
    await world.turn(lambda: ROOMS.work(world.look, world.ran(3.0)))
    assert [told.seconds for told in world.slow] == [3.0]


async def test_what_goes_on_is_told_once_while_it_lasts(world: World) -> None:
    steps = [world.blocked() for _ in range(int(STUCK / INTERVAL) * 2)]

    def call() -> None:
        ROOMS.work(world.look, *steps)
        assert [told.plugin for told in world.stuck] == ["rooms"]

    await world.turn(call)
    assert len(world.stuck) == 1
    assert world.slow[0].seconds == pytest.approx(2 * STUCK, abs=2 * INTERVAL)


async def test_one_event_in_a_while_and_all_are_counted(world: World) -> None:
    async def slow() -> None:
        await world.turn(lambda: ROOMS.work(world.look, world.ran(), world.ran(), world.ran()))

    for _ in range(5):
        await slow()
    assert (len(world.slow), world.judgement.counts) == (1, {"rooms": 5})
    world.wall += QUIET
    await slow()
    assert len(world.slow) == 2


async def test_the_thread_looks_at_its_makers_loop_and_ends() -> None:
    told: asyncio.Queue[PluginSlow] = asyncio.Queue()
    watch = Watch(make_owners(), told.put_nowait, told.put_nowait)
    watch.start()
    try:
        seen = asyncio.create_task(told.get())
        async with asyncio.timeout(30):
            while not seen.done():
                ROOMS.work(lambda: threading.Event().wait(0.25))
                await asyncio.sleep(0)
        assert seen.result().plugin == "rooms"
    finally:
        watch.stop()
    assert "vpnrs-watch" not in {thread.name for thread in threading.enumerate()}
