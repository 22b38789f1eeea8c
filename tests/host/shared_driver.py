"""Runs instances that all need this namespace's forwarding, in every order of starts and ends, with real processes.

    python shared_driver.py DIRECTORY SCRIPT...

A SCRIPT is one life of a host: "A+ B+ A! B-". An instance starts (+), stops (-), is killed and its guard puts
back what it left (!), is killed together with its guard (x); a next start (?) or `vpnrs doctor --fix` (c) finds that.
After each step forwarding must be on exactly while an instance runs or a crash is not cleared up, and at the end all
settings must be as they were.

Prints one JSON object: how many scripts there were, and what was found wrong.
"""

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
from pathlib import Path

from vpnrs_core.host import changes, leftovers
from vpnrs_core.host.guard import Guard
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
    setup = await HostSetup.open(rundir)
    await setup.enable_forwarding(True, True)
    os.write(ready, f"{guard.pid}\n".encode())
    os.read(end, 1)
    await setup.undo()
    await setup.close()
    guard.end()
    rundir.release()


async def start_again(name):
    with RunDir.claim(name) as rundir:
        await (await HostSetup.open(rundir)).close()


class Running:
    def __init__(self, name):
        (self._said, ready), (end, self._end) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._end)
            try:
                asyncio.run(life(name, ready, end))
                os._exit(0)
            finally:
                os._exit(1)
        os.close(ready)
        os.close(end)
        self.guard = int(os.read(self._said, 32) or b"0")

    def finish(self, how):
        if how == "x":
            os.kill(self.guard, signal.SIGKILL)
        if how == "-":
            os.write(self._end, b".")
        else:
            os.kill(self.pid, signal.SIGKILL)
        for pid in (self.pid, self.guard):
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass  # the instance has waited for its guard itself
        os.close(self._end)
        os.close(self._said)


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


def main():
    os.environ["VPNRS_RUN_DIR"] = sys.argv[1]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    gc.freeze()  # forks share what is never looked at again
    gc.disable()
    scripts = sys.argv[2:]
    print(json.dumps({"played": len(scripts), "wrong": [line for script in scripts for line in play(script)]}))


if __name__ == "__main__":
    main()
