"""What plugins do not let end is named, and keeps no process from ending."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from vpnrs_core.engine import ending


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "DEADLINE", 0.05)
    monkeypatch.setattr(ending, "abandoned", [])


def test_what_ends_is_waited_for_and_nobody_is_named() -> None:
    ended: list[str] = []

    async def other() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            ended.append("other")

    async def main() -> None:
        asyncio.get_running_loop().create_task(other())
        await asyncio.to_thread(lambda: None)
        ended.append("main")

    ending.run_to_the_end(main())
    assert ended == ["main", "other"]
    assert ending.abandoned == []


def test_the_end_of_what_runs_is_not_cut_short() -> None:
    """However the loop was ended: a host has to be undone."""
    undone: list[str] = []

    async def main() -> None:
        try:
            asyncio.get_running_loop().call_soon(sys.exit, 3)
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(4 * ending.DEADLINE)
            undone.append("host")

    with pytest.raises(SystemExit):
        ending.run_to_the_end(main())
    assert undone == ["host"]


def test_a_task_that_clings_is_named_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    enough = False

    async def clings() -> None:
        while not enough:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(clings(), name="service a of b")
        task.add_done_callback(lambda _: None)
        await asyncio.sleep(0)

    ending.run_to_the_end(main())
    (what,) = ending.abandoned
    assert what.startswith("task 'service a of b' (")
    assert "test_ending.py:" in what
    assert f"{what} did not end within 0.05 s, and is left behind" in caplog.text
    enough = True


def test_a_thread_that_clings_is_named() -> None:
    let_go = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, let_go.wait)

    try:
        ending.run_to_the_end(main())
        (what,) = ending.abandoned
        assert what.startswith("thread 'vpnrs-worker")
    finally:
        let_go.set()


def test_the_process_ends_all_the_same_with_its_code() -> None:
    """An interpreter waits for its threads at its exit; this one is not asked to."""
    code = (
        "import sys, threading; from vpnrs_core.engine import ending; import vpnrs_core.cli as cli\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "ending.abandoned.append('a thread'); cli._main = lambda arguments: sys.exit(5)\n"
        "print('said', end=''); cli.main([])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (5, "said")
