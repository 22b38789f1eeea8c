"""Runs instances that all need this namespace's forwarding, in every order of starts and ends, with real processes.

    python shared_driver.py DIRECTORY SCRIPT...|steps

A SCRIPT is one life of a host: "A+ B+ A! B-". An instance starts (+), stops (-), is killed and its guard puts
back what it left (!), is killed together with its guard (x); a next start (?) or `vpnrs doctor --fix` (c) finds that.
"steps": a second instance starts and stops beside a first, and is killed before each of its steps in turn, anything
that touches a setting or its journal; its guard puts back what it left.

After each step forwarding must be on exactly while an instance runs or a crash is not cleared up, and at the end all
settings must be as they were.

Prints one JSON object: how many lives there were, and what was found wrong.
"""

import asyncio
import contextlib
import ctypes
import gc
import itertools
import json
import os
import signal
import sys
from pathlib import Path

from vpnrs_core.host import changes, leftovers
from vpnrs_core.host.guard import Guard
from vpnrs_core.host.journal import Journal
from vpnrs_core.host.rundir import RunDir
from vpnrs_core.host.setup import HostSetup

PR_SET_CHILD_SUBREAPER = 36
FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
PATTERNS = ("net/ipv4/ip_forward", "net/ipv4/conf/*/forwarding", "net/ipv4/conf/*/accept_redirects",
            "net/ipv6/conf/*/forwarding", "net/ipv6/conf/*/accept_ra")  # fmt: skip


def state():
    return {key: changes.read_sysctl(key) for pattern in PATTERNS for key in changes.list_sysctls(pattern)}


async def life(name, ready, end):
    """An instance that runs until it is told to end."""
    rundir = RunDir.claim(name)
    guard = Guard.start(rundir)
    os.write(ready, f"{guard.pid} ".encode())
    setup = await HostSetup.open(rundir)
    await setup.enable_forwarding(True, True)
    os.write(ready, b"ready")
    os.read(end, 1)
    await setup.undo()
    await setup.close()
    guard.end()
    rundir.release()


async def start_again(name):
    with RunDir.claim(name) as rundir:
        await (await HostSetup.open(rundir)).close()


def die_before(number):
    """The process kills itself before that step of its life."""
    steps = itertools.count(1)

    def counted(function):
        def call(*arguments):
            if next(steps) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return call

    Journal._write = counted(Journal._write)
    changes.write_sysctl = counted(changes.write_sysctl)


class Running:
    """An instance in a process of its own, at work when this is made, unless it is to die before."""

    def __init__(self, name, dies_before=0):
        (self._said, ready), (end, self._end) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._end)
            if dies_before:
                die_before(dies_before)
            try:
                asyncio.run(life(name, ready, end))
                os._exit(0)
            finally:
                os._exit(1)
        os.close(ready)
        os.close(end)
        said = b""
        while not said.endswith(b"ready") and (more := os.read(self._said, 32)):
            said += more
        self.guard = int(said.split()[0])

    def finish(self, how):
        """→ whether it has ended in order."""
        if how == "x":
            os.kill(self.guard, signal.SIGKILL)
        if how == "-":
            with contextlib.suppress(BrokenPipeError):  # it is dead already
                os.write(self._end, b".")
        else:
            os.kill(self.pid, signal.SIGKILL)
        status = os.waitpid(self.pid, 0)[1]
        with contextlib.suppress(ChildProcessError):  # who ends in order has waited for its guard itself
            os.waitpid(self.guard, 0)
        os.close(self._end)
        os.close(self._said)
        return status == 0


def play(script):
    """→ what was wrong, a line each."""
    wrong, before, running, crashed = [], state(), {}, set()
    for step in script.split():
        name, how = step[0].lower(), step[1]
        if how == "+":
            running[name] = Running(name)
            crashed.discard(name)
        elif how == "?":
            asyncio.run(start_again(name))
        elif how == "c":
            leftovers.clear(name)
        else:
            running.pop(name).finish(how)
            if how == "x":
                crashed.add(name)
        if how in "?c":
            crashed.discard(name)
        is_on = [changes.read_sysctl(key) for key in FORWARDING]
        wanted = "1" if running else "0" if not crashed else None
        if wanted is not None and is_on != [wanted, wanted]:
            wrong.append(f"{script}: after {step} forwarding is {is_on}, not {wanted}")
    after = state()
    wrong += [f"{script}: {key} is {after[key]}, was {before[key]}" for key in before if after[key] != before[key]]
    wrong += [f"{script}: {path} is left" for path in Path(os.environ["VPNRS_RUN_DIR"]).iterdir()]
    return wrong


def play_steps():
    """→ the number of lives, and what was wrong, a line each."""
    wrong, before = [], state()
    for number in itertools.count(1):
        first = Running("first")
        complete = Running("second", number).finish("-")
        is_on = [changes.read_sysctl(key) for key in FORWARDING]
        if is_on != ["1", "1"]:
            wrong.append(f"step {number}: forwarding is {is_on} while the first one runs")
        first.finish("-")
        after = state()
        wrong += [
            f"step {number}: {key} is {after[key]}, was {before[key]}" for key in before if after[key] != before[key]
        ]
        if complete or wrong:
            return number, wrong
    raise AssertionError("no life is endless")


def main():
    os.environ["VPNRS_RUN_DIR"] = sys.argv[1]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    gc.freeze()  # forks share what is never looked at again
    gc.disable()
    scripts = sys.argv[2:]
    if scripts == ["steps"]:
        number, wrong = play_steps()
        print(json.dumps({"played": number, "wrong": wrong}))
        return
    print(json.dumps({"played": len(scripts), "wrong": [line for script in scripts for line in play(script)]}))


if __name__ == "__main__":
    main()
