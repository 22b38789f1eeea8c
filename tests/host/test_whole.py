"""What was begun is carried to its end."""

import asyncio

import pytest

from vpnrs_core.host.whole import whole


@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_cancelled_twice_still_waits_for_the_end(fails):
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), []

    async def work():
        begun.set()
        await may_end.wait()
        ended.append(1)
        if fails:
            raise ValueError

    task = asyncio.create_task(whole(work()))
    await begun.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]


async def test_what_it_returns_and_raises_is_told():
    assert await whole(asyncio.sleep(0, 7)) == 7

    async def failing():
        raise ValueError("told")

    with pytest.raises(ValueError, match="told"):
        await whole(failing())
