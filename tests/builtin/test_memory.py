"""The memory store keeps the promises of interfaces.Store, within its bounds, by the clock it is given."""

from __future__ import annotations

import asyncio

import pytest

from vpnrs_core.builtin.memory import MAX_VALUE, MemoryStore
from vpnrs_core.interfaces import Store, StoreUnavailable


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


def test_it_is_a_store(store: MemoryStore) -> None:
    as_interface: Store = store
    assert as_interface.NAME == "memory"


async def test_put_is_read_back_with_its_version(store: MemoryStore) -> None:
    version = await store.put("k", b"one")
    value = await store.get("k")
    assert value is not None
    assert (value.data, value.version) == (b"one", version)
    assert await store.put("k", b"one") != version
    assert await store.get("other") is None


async def test_add_takes_only_what_is_absent_or_expired(store: MemoryStore, clock: Clock) -> None:
    assert await store.add("k", b"first", ttl=10)
    assert await store.add("k", b"second") is None
    clock.now += 10
    assert await store.add("k", b"third")
    value = await store.get("k")
    assert value is not None
    assert value.data == b"third"


async def test_replace_needs_the_version_that_is_there(store: MemoryStore) -> None:
    old = await store.put("k", b"1")
    new = await store.replace("k", b"2", old)
    assert new is not None
    assert await store.replace("k", b"3", old) is None
    assert await store.replace("absent", b"3", new) is None
    value = await store.get("k")
    assert value is not None
    assert value.data == b"2"


async def test_delete_needs_the_version_when_one_is_given(store: MemoryStore) -> None:
    version = await store.put("k", b"1")
    assert not await store.delete("k", b"another")
    assert await store.delete("k", version)
    assert not await store.delete("k")


async def test_increment_is_forgotten_a_window_after_its_first(store: MemoryStore, clock: Clock) -> None:
    assert await store.increment("n", 2, window=60) == 2
    clock.now += 59
    assert await store.increment("n", 3, window=60) == 5
    clock.now += 1
    assert await store.increment("n", 1, window=60) == 1


async def test_touch_prolongs_what_is_still_there(store: MemoryStore, clock: Clock) -> None:
    version = await store.put("k", b"1", ttl=10)
    clock.now += 9
    assert await store.touch("k", 10, version)
    assert not await store.touch("k", 10, b"another")
    clock.now += 9
    assert await store.get("k") is not None
    clock.now += 1
    assert await store.get("k") is None
    assert not await store.touch("k", 10)


async def test_scan_gives_the_prefix_in_order_up_to_the_limit(store: MemoryStore, clock: Clock) -> None:
    for key in ("b/2", "a/1", "b/1", "b/3"):
        await store.put(key, key.encode())
    await store.put("b/0", b"expires", ttl=1)
    clock.now += 1
    assert [key async for key, _ in store.scan("b/", 10)] == ["b/1", "b/2", "b/3"]
    assert [key async for key, _ in store.scan("b/", 2)] == ["b/1", "b/2"]


async def test_scan_survives_changes_made_on_the_way(store: MemoryStore) -> None:
    for n in range(4):
        await store.put(f"k{n}", b"")
    seen = []
    async for key, _ in store.scan("k", 10):
        seen.append(key)
        await store.delete("k2")
    assert seen == ["k0", "k1", "k3"]


async def test_watch_tells_changes_from_its_call_on(store: MemoryStore, clock: Clock) -> None:
    await store.put("a/before", b"")
    changes = store.watch("a/")
    await store.put("a/1", b"", ttl=5)
    await store.put("b/1", b"")
    await store.delete("a/before")
    clock.now += 5
    await store.get("a/1")
    assert [await anext(changes) for _ in range(3)] == ["a/1", "a/before", "a/1"]


async def test_watch_wakes_who_waits(store: MemoryStore) -> None:
    changes = store.watch("")
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    assert not waiting.done()
    await store.put("k", b"")
    assert await waiting == "k"


async def test_a_watcher_that_falls_behind_is_told_to_read_again(clock: Clock) -> None:
    store = MemoryStore(clock, watch_size=2)
    changes = store.watch("")
    for n in range(3):
        await store.put(f"k{n}", b"")
    assert await anext(changes) is None
    await store.put("later", b"")
    assert await anext(changes) == "later"


async def test_a_watcher_that_was_let_go_is_forgotten(store: MemoryStore) -> None:
    changes = store.watch("")
    assert len(store._watchers) == 1
    del changes
    assert not store._watchers


async def test_a_full_store_says_so_and_keeps_what_it_has(clock: Clock) -> None:
    store = MemoryStore(clock, max_entries=2)
    await store.put("a", b"1")
    await store.put("b", b"2", ttl=10)
    with pytest.raises(StoreUnavailable, match="full"):
        await store.put("c", b"3")
    await store.put("a", b"overwriting is no new entry")
    clock.now += 10
    await store.put("c", b"the expired one made room")
    assert [key async for key, _ in store.scan("", 9)] == ["a", "c"]


async def test_bytes_are_bounded_and_given_back(clock: Clock) -> None:
    store = MemoryStore(clock, max_bytes=100)
    await store.put("a", bytes(60))
    with pytest.raises(StoreUnavailable):
        await store.put("b", bytes(41))
    await store.put("a", bytes(20))
    await store.put("b", bytes(80))
    await store.delete("a")
    await store.put("c", bytes(20))


async def test_growing_an_entry_of_a_full_store_that_expires_meanwhile_keeps_the_count(clock: Clock) -> None:
    store = MemoryStore(clock, max_bytes=100)
    await store.put("a", bytes(90), ttl=1)
    clock.now += 1
    await store.put("a", bytes(100))
    with pytest.raises(StoreUnavailable):
        await store.put("b", b"1")
    await store.delete("a")
    await store.put("b", bytes(100))


async def test_a_value_beyond_64_kib_is_refused(store: MemoryStore) -> None:
    await store.put("k", bytes(MAX_VALUE))
    with pytest.raises(ValueError, match="65537 bytes"):
        await store.put("k", bytes(MAX_VALUE + 1))
