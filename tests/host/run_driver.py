"""Kills a whole `vpnrs run CONFIG` in this namespace, before one step after another, and looks at what is left.

    python run_driver.py CONFIG DIRECTORY EACH

Each life is forked from this process, and is the command itself: configuration, guard, plugins, sockets, transport,
session. A server starts and stops; a client connects, connects again as another session after its connection was cut,
follows its host to another gateway, and stops. Every EACHth step (fault_driver.Steps) is the last one of a life; in
every second life the guard is killed as well, and the next start puts the host back.

Prints one JSON object: how many lives were killed, the steps of a whole one, and what was found wrong.
"""

import asyncio
import contextlib
import ctypes
import gc
import importlib
import json
import os
import sys
import tomllib
from pathlib import Path

from fault_driver import NETLINK, PR_SET_CHILD_SUBREAPER, CountedOs, Steps, fork, reap, start_again, state
from pyroute2 import IPRoute

from vpnrs_core.cli import main as vpnrs
from vpnrs_core.engine.client import Client
from vpnrs_core.engine.instance import Instance
from vpnrs_core.events import Connected, InstanceStarted
from vpnrs_core.host import changes, dns, nft
from vpnrs_core.host.guard import Guard
from vpnrs_core.host.journal import Journal
from vpnrs_core.host.netlink import Netlink

GATEWAYS = ("10.200.0.1", "10.200.0.9")


async def story(instance, up):
    await up.get()
    if instance.role == "client":
        instance._part._link.lose("the driver cuts it")
        await up.get()
        await instance.host.netlink._ipr.route("replace", dst="default", gateway=GATEWAYS[1])
        async with asyncio.timeout(10):
            while not any(pin.gateway == GATEWAYS[1] for pin in instance.host._routes._pins.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    instance.stop("the story is over")


def move_back():
    """The network's own doing, like the move: no crash takes it back."""
    with IPRoute() as ipr:
        ipr.route("replace", dst="default", gateway=GATEWAYS[0])


def live(config, number, with_guard, modules):
    steps = Steps()
    steps.watch(Netlink, *NETLINK)
    steps.watch(Journal, "_write")
    steps.watch(changes, "write_sysctl")
    steps.watch(nft, "run_nft")
    dns.os = CountedOs(steps)
    run, start = Instance.run, Guard.start.__func__

    async def with_story(instance):
        up = asyncio.Queue()
        kind = Connected if instance.role == "client" else InstanceStarted
        instance.bus.listen(lambda event: up.put_nowait(event) if isinstance(event, kind) else None)
        task = asyncio.create_task(story(instance, up))
        try:
            await run(instance)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def with_pid(cls, rundir):
        guard = start(cls, rundir)
        steps.guard = None if with_guard else guard.pid
        steps.last = number
        return guard

    # Another session has other addresses.
    Client._keep_ticket = lambda client, link: None
    Instance.run, Guard.start = with_story, classmethod(with_pid)
    with contextlib.suppress(SystemExit):
        vpnrs(["run", str(config)])
    modules.write_text("\n".join([str(steps.count), *sorted(sys.modules)]))


def life(config, number, with_guard, modules):
    """→ whether it came to its end, else it was killed. Raises when it failed by itself."""
    pid = fork(lambda: live(config, number, with_guard, modules))
    status = reap()[pid]
    assert status == 0 or os.WIFSIGNALED(status), f"the life with step {number} failed by itself"
    return status == 0


def main():
    config, directory, each = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    data = tomllib.loads(config.read_text())
    os.environ["VPNRS_RUN_DIR"] = str(directory / "run")
    (directory / "run").mkdir()
    # No resolvconf and no resolvectl of the machine that the test runs on.
    dns.asks_resolved = lambda: False
    dns.shutil = type("Nothing", (), {"which": staticmethod(lambda name: None)})
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if data["role"] == "client":
        move_back()
    before = state(dns.RESOLV_CONF, directory / "run")
    modules, wrong, killed, number = directory / "modules", [], 0, None
    while True:
        complete = life(config, number, killed % 2 == 0, modules)
        if data["role"] == "client":
            move_back()
        if not complete and killed % 2:
            os.waitpid(fork(lambda: start_again(data["instance"])), 0)
        after = state(dns.RESOLV_CONF, directory / "run")
        wrong += [f"step {number}: - {text}" for text in before if text not in after]
        wrong += [f"step {number}: + {text}" for text in after if text not in before]
        if number is None:
            # The first life is a whole one; what it has imported the others need not.
            steps, *names = modules.read_text().split("\n")
            for name in names:
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
            gc.freeze()
            number = 0
        elif complete or len(wrong) > 20:
            break
        else:
            killed += 1
        number += each
    print(json.dumps({"killed": killed, "steps": int(steps), "wrong": wrong}))


if __name__ == "__main__":
    main()
