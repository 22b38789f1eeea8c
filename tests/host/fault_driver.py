"""Kills a process that configures this namespace's host, before every single step in turn, and looks at what is left.

    python fault_driver.py DIRECTORY guard|start EACH

Each life is forked from this process: it claims a run directory, starts its guard, and goes through a start, two
reconnects and a stop. `guard`: the guard puts the host back. `start`: the guard is killed too, and a new start does.
EACH 3: only every third life is killed.
A step is anything that touches the host or the journal, so "after a step" is "before the next one".

Prints one JSON object: how many steps there were, and what was found wrong.
"""

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

from pyroute2 import IPRoute

from vpnrs_core.host import changes, dns, nft
from vpnrs_core.host.guard import Guard
from vpnrs_core.host.journal import Journal
from vpnrs_core.host.netlink import Netlink
from vpnrs_core.host.rundir import RunDir
from vpnrs_core.host.setup import HostSetup
from vpnrs_core.host.tun import Tun

PR_SET_CHILD_SUBREAPER = 36
NETLINK = (
    *("add_address", "remove_address", "add_route", "remove_route", "set_link", "silence_ipv6"),
    *("pin_route", "unpin_route", "add_unreachable", "remove_unreachable"),
)
SYSCTLS = ("net/ipv4/ip_forward", "net/ipv4/conf/*/forwarding", "net/ipv4/conf/*/accept_redirects",
           "net/ipv6/conf/*/forwarding", "net/ipv6/conf/*/accept_ra", "net/ipv4/conf/*/rp_filter")  # fmt: skip
VOLATILE = {"IFLA_STATS", "IFLA_STATS64", "IFA_CACHEINFO", "RTA_CACHEINFO", "header", "IFLA_AF_SPEC"}
SERVER = [ip_network("198.51.100.7/32"), ip_network("2001:db8::7/128")]


class Steps:
    """Counts the steps of one life, and ends it before number `last`."""

    def __init__(self):
        self.count, self.last, self.guard = 0, None, None

    def step(self):
        self.count += 1
        if self.count == self.last:
            if self.guard is not None:
                os.kill(self.guard, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, place, *names):
        for name in names:
            setattr(place, name, self._counted(getattr(place, name)))

    def _counted(self, method):
        def call(*args, **kwargs):
            self.step()
            return method(*args, **kwargs)

        return call


class CountedOs:
    """`os` as host.dns sees it."""

    def __init__(self, steps):
        self._steps = steps

    def __getattr__(self, name):
        if name in ("pwrite", "ftruncate"):
            self._steps.step()
        return getattr(os, name)


def addresses(*texts):
    return [(ip_address(text.split("/")[0]), int(text.split("/")[1])) for text in texts]


def networks(*texts):
    return [ip_network(text) for text in texts]


async def life(rundir, ended):
    """Everything that a server or a client does to its host, at start, at reconnects, at the stop."""
    setup = await HostSetup.open(rundir)
    tun = Tun.open()
    await setup.set_kill_switch(tun.name, SERVER[:1], 4433, False)
    await setup.configure_tun(tun, addresses("10.77.0.1/24", "fd77::1/64"), 1280)
    await setup.set_gateway(networks("10.77.0.0/24"), True)
    await setup.enable_forwarding(True, True)
    await setup.set_routes(networks("0.0.0.0/0", "::/0", "10.8.0.0/16"), SERVER)
    await setup.set_dns([ip_address("10.77.0.1")], [])
    # A reconnect with other addresses and another server, and one after the host has moved to another gateway.
    await setup.set_kill_switch(tun.name, SERVER, 4433, False)
    await setup.change_addresses(addresses("10.77.0.2/24", "fd77::1/64"))
    await setup.set_mtu(1300)
    await setup.set_routes(networks("0.0.0.0/0", "::/0", "10.9.0.0/16"), SERVER, strict=False)
    await setup.set_dns([ip_address("10.77.0.2")], [])
    await setup.netlink._ipr.route("replace", dst="default", gateway="10.203.1.3")
    await setup.refresh()
    if ended:
        await setup.undo()
    await setup.close()
    tun.close()


def move_back():
    """The network's own doing, like the move: no crash takes it back."""
    with IPRoute() as ipr:
        ipr.route("replace", dst="default", gateway="10.203.1.2")


def state(resolv_conf, run):
    """What must be as it was, one text an object."""
    found = []
    with IPRoute() as ipr:
        for dump in (ipr.get_links, ipr.get_addr, ipr.get_routes, ipr.get_rules):
            found += [repr(_steady(message)) for message in dump()]
    found += nft.run_nft("list ruleset").splitlines()
    found += [f"{key} = {changes.read_sysctl(key)}" for pattern in SYSCTLS for key in changes.list_sysctls(pattern)]
    found.append(resolv_conf.read_text())
    return sorted([*found, *map(str, run.rglob("*"))])


def _steady(value):
    if isinstance(value, dict):
        attributes = [(n, _steady(v)) for n, v in value.get("attrs", []) if n not in VOLATILE]
        return {k: _steady(v) for k, v in value.items() if k not in (*VOLATILE, "attrs")} | {"attrs": attributes}
    return value


def fork(work):
    """Run `work` in a child → its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return pid


def reap():
    """Wait for a life and its guard, whose parent we are then → their ends by pid."""
    codes = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.wait()
            codes[pid] = status
    return codes


def live(number, with_guard):
    steps = Steps()
    rundir = RunDir.claim("faults")
    guard = Guard.start(rundir)
    steps.guard = None if with_guard else guard.pid
    steps.watch(Netlink, *NETLINK)
    steps.watch(Journal, "_write")
    steps.watch(changes, "write_sysctl")
    steps.watch(nft, "run_nft")
    dns.os = CountedOs(steps)
    steps.last = number
    asyncio.run(life(rundir, True))
    guard.end()
    rundir.release()
    print(steps.count, flush=True)


def start_again(instance):
    async def recovering():
        with RunDir.claim(instance) as rundir:
            setup = await HostSetup.open(rundir)
            await setup.close()

    asyncio.run(recovering())


def main():
    directory, how, each = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    os.environ["VPNRS_RUN_DIR"] = str(directory / "run")
    (directory / "resolv.conf").write_text("# mine\nnameserver 192.0.2.1\nsearch example.org\n" + "# more\n" * 40)
    (directory / "run").mkdir()
    dns.RESOLV_CONF = directory / "resolv.conf"
    dns.asks_resolved = lambda: False
    # No resolvconf and no resolvectl of the machine that the test runs on.
    dns.shutil = type("Nothing", (), {"which": staticmethod(lambda name: None)})
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    move_back()
    gc.freeze()
    gc.disable()
    before, wrong, number = state(dns.RESOLV_CONF, directory / "run"), [], 0
    while True:
        number += each
        pid = fork(lambda number=number: live(number, how == "guard"))
        codes = reap()
        move_back()
        complete = codes[pid] == 0
        if not complete and not os.WIFSIGNALED(codes[pid]):
            wrong.append(f"step {number}: the life failed by itself")
        if how == "start" and not complete:
            os.waitpid(fork(lambda: start_again("faults")), 0)
        after = state(dns.RESOLV_CONF, directory / "run")
        wrong += [f"step {number}: - {text}" for text in before if text not in after]
        wrong += [f"step {number}: + {text}" for text in after if text not in before]
        if complete or len(wrong) > 20:
            break
    print(json.dumps({"killed": number // each - 1, "wrong": wrong}))


if __name__ == "__main__":
    main()
