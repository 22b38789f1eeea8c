"""Runs the loop as asyncio.run does, and ends it within a bounded time: what does not end is named and left behind."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

# Seconds that tasks and threads have to end once the instance has stopped.
DEADLINE = 1.0

log = logging.getLogger("vpnrs.engine")
# What this process left behind, for its exit: an interpreter that exits waits for its threads.
abandoned: list[str] = []


def run_to_the_end(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` → what it raises. Its own end takes the time that it takes; whatever else is still there afterwards is
    cancelled, and after DEADLINE seconds named in the log and in `abandoned`."""
    runner = asyncio.Runner()
    loop = runner.get_loop()
    workers = ThreadPoolExecutor(thread_name_prefix="vpnrs-worker")
    loop.set_default_executor(workers)
    mine: list[asyncio.Task[Any]] = []

    async def whole() -> None:
        mine.extend(task for task in (asyncio.current_task(),) if task is not None)
        await main

    try:
        runner.run(whole())
    finally:
        left = [*_cancel(loop, mine)]
        workers.shutdown(wait=False, cancel_futures=True)
        left += _join()
        for what in left:
            log.error("%s did not end within %g s, and is left behind", what, DEADLINE)
        abandoned.extend(left)
        if left:
            # Closing properly would wait for them; that they are destroyed unfinished has been said.
            loop.set_exception_handler(lambda *_: None)
            loop.close()
        else:
            runner.close()


def leave(code: int) -> NoReturn:
    """End the process at once, without what an interpreter's exit waits for."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _cancel(loop: asyncio.AbstractEventLoop, first: Iterable[asyncio.Task[Any]]) -> Iterable[str]:
    """→ the tasks that are still there, described."""
    for task in first:
        if not task.done():  # something ended the loop, and not it
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(_wait(tasks))
    return [_described(task) for task in tasks if not task.done()]


async def _wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=DEADLINE)


def _described(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    where = f" ({frames[-1].f_code.co_filename}:{frames[-1].f_lineno})" if frames else ""
    return f"task {task.get_name()!r}{where}"


def _join() -> list[str]:
    """→ the threads that the interpreter would wait for, described."""
    end = time.monotonic() + DEADLINE
    others = [t for t in threading.enumerate() if not t.daemon and t is not threading.current_thread()]
    for thread in others:
        thread.join(max(0.0, end - time.monotonic()))
    return [f"thread {thread.name!r}" for thread in others if thread.is_alive()]
