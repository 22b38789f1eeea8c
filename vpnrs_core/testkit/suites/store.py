"""The contract of stores: versions that protect from lost updates, expiry, counting windows, prefixes, watching."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from vpnrs_core.interfaces.store import Value
from vpnrs_core.testkit.clock import Clock
from vpnrs_core.testkit.suites.base import Suite, is_named, run

LARGEST = 64 * 1024
SOON = 0.25


class StoreSuite(Suite):
    """`subject` is an empty store that reads the fixture `clock`; a store whose time is its own sets `own_time` and is
    waited for in real seconds."""

    kind: ClassVar[str] = "store"
    own_time: ClassVar[bool] = False

    async def pass_time(self, clock: Clock, seconds: float) -> None:
        """`seconds` are what the test means, or a moment of real time that stands for them."""
        if self.own_time:
            await asyncio.sleep(seconds)
        else:
            clock.advance(seconds)

    def test_it_has_a_name(self, subject: Any) -> None:
        assert is_named(subject)

    def test_what_is_put_is_read_back_with_its_version(self, subject: Any) -> None:
        async def check() -> None:
            version = await subject.put("k", b"one")
            assert await subject.get("k") == Value(b"one", version)
            again = await subject.put("k", b"one")
            assert again != version
            assert await subject.get("absent") is None
            await subject.put("k", bytes(LARGEST))
            assert len((await subject.get("k")).data) == LARGEST

        run(check())

    def test_a_value_that_is_too_large_is_refused(self, subject: Any) -> None:
        async def check() -> None:
            with pytest.raises(ValueError):  # noqa: PT011  the text is the store's own
                await subject.put("k", bytes(LARGEST + 1))
            assert await subject.get("k") is None

        run(check())

    def test_only_one_adds(self, subject: Any) -> None:
        async def check() -> None:
            versions = await asyncio.gather(*(subject.add("k", bytes([n])) for n in range(20)))
            assert sum(version is not None for version in versions) == 1
            winner = next(n for n, version in enumerate(versions) if version is not None)
            assert (await subject.get("k")).data == bytes([winner])

        run(check())

    def test_only_one_replaces_a_version(self, subject: Any) -> None:
        async def check() -> None:
            old = await subject.put("k", b"old")
            versions = await asyncio.gather(*(subject.replace("k", bytes([n]), old) for n in range(20)))
            assert sum(version is not None for version in versions) == 1
            assert await subject.replace("k", b"late", old) is None
            assert await subject.replace("absent", b"x", old) is None

        run(check())

    def test_delete_respects_a_version(self, subject: Any) -> None:
        async def check() -> None:
            old = await subject.put("k", b"1")
            new = await subject.put("k", b"2")
            assert not await subject.delete("k", old)
            assert await subject.delete("k", new)
            assert not await subject.delete("k")
            assert await subject.get("k") is None

        run(check())

    def test_what_has_expired_is_gone(self, subject: Any, clock: Clock) -> None:
        async def check() -> None:
            await subject.put("short", b"1", ttl=SOON)
            await subject.put("long", b"1", ttl=1000)
            await subject.add("added", b"1", ttl=SOON)
            version = await subject.put("touched", b"1", ttl=SOON)
            assert await subject.touch("touched", 1000, version)
            assert not await subject.touch("touched", 1000, b"another")
            await self.pass_time(clock, 2 * SOON)
            assert await subject.get("short") is None
            assert await subject.get("added") is None
            assert await subject.get("long") is not None
            assert await subject.get("touched") is not None
            assert not await subject.touch("short", 1000)
            assert await subject.add("short", b"2") is not None

        run(check())

    def test_counting_begins_again_after_the_window(self, subject: Any, clock: Clock) -> None:
        async def check() -> None:
            assert await subject.increment("n", 2, SOON) == 2
            assert await subject.increment("n", 3, SOON) == 5
            await self.pass_time(clock, 2 * SOON)
            assert await subject.increment("n", 1, SOON) == 1
            counted = await asyncio.gather(*(subject.increment("m", 1, 1000) for _ in range(50)))
            assert sorted(counted) == list(range(1, 51))

        run(check())

    def test_scan_gives_a_prefix_up_to_a_limit(self, subject: Any) -> None:
        async def check() -> None:
            for key in ("b/2", "a/1", "b/1", "b/3"):
                await subject.put(key, key.encode())
            found = {key: value.data async for key, value in subject.scan("b/", 10)}
            assert found == {"b/1": b"b/1", "b/2": b"b/2", "b/3": b"b/3"}
            assert len([key async for key, _ in subject.scan("b/", 2)]) == 2
            assert [key async for key, _ in subject.scan("c/", 2)] == []

        run(check())

    def test_a_watcher_hears_of_its_prefix(self, subject: Any) -> None:
        async def check() -> None:
            watching = subject.watch("b/")
            # Begun before the change: what happened before is not news.
            first = asyncio.ensure_future(anext(watching))
            await asyncio.sleep(0.02)
            await subject.put("a/1", b"x")
            await subject.put("b/1", b"x")
            assert await first == "b/1"
            await subject.delete("b/1")
            # None says that something was missed: read again.
            assert await anext(watching) in ("b/1", None)

        run(check())
