"""Gives this host's resolver a tunnel's servers, other ones at a reconnect, and takes them back; then once more, and is
killed: the guard takes them back.

    python resolver_driver.py

Prints one JSON object: what the resolver said before, with each, after, and after the SIGKILL."""

import asyncio
import ctypes
import json
import os
import signal
import subprocess
from ipaddress import ip_address
from pathlib import Path

from fault_driver import PR_SET_CHILD_SUBREAPER, addresses, fork, reap

from vpnrs_core.host.guard import Guard
from vpnrs_core.host.rundir import RunDir
from vpnrs_core.host.setup import HostSetup
from vpnrs_core.host.tun import Tun


def said():
    """What the resolver would ask: its file, and where systemd-resolved is asked, what it says of the TUN."""
    if not os.path.realpath("/etc/resolv.conf").startswith("/run/systemd"):
        return Path("/etc/resolv.conf").read_text()
    return subprocess.run(["resolvectl", "status", "vpnrs0"], capture_output=True, text=True).stdout


async def life(found, killed):
    with RunDir.claim("resolver") as rundir:
        guard = Guard.start(rundir)
        setup = await HostSetup.open(rundir)
        tun = Tun.open()
        await setup.configure_tun(tun, addresses("10.77.0.2/24"), 1280)
        found["before"] = said()
        found["warning"] = await setup.set_dns([ip_address("10.77.0.1")], ["corp.example"])
        found["first"] = said()
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)
        await setup.set_dns([ip_address("10.77.0.1"), ip_address("fd77::1")], [])
        found["second"] = said()
        await setup.undo()
        found["after"] = said()
        await setup.close()
        tun.close()
        guard.end()


def main():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.environ["VPNRS_RUN_DIR"] = "/run/vpnrs"
    found = {}
    asyncio.run(life(found, False))
    gone = said()
    pid = fork(lambda: asyncio.run(life({}, True)))
    found["killed"] = os.WIFSIGNALED(reap()[pid]) and said() == gone
    print(json.dumps(found))


if __name__ == "__main__":
    main()
