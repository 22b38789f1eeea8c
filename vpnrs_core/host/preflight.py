"""Before anything else: does this machine let us do what we are about to do, and what mends it if not."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vpnrs_core.errors import HostError
from vpnrs_core.host import nft, tun
from vpnrs_core.host.changes import read_sysctl
from vpnrs_core.host.rundir import BASE_VARIABLE, base_directory
from vpnrs_core.interfaces.host import Finding

CAP_NET_BIND_SERVICE: Final = 10
CAP_NET_ADMIN: Final = 12

_NAMES: Final = {CAP_NET_BIND_SERVICE: "CAP_NET_BIND_SERVICE", CAP_NET_ADMIN: "CAP_NET_ADMIN"}


@dataclass(frozen=True)
class Plan:
    """What is about to be done. `forwards_ipv4/6`: a server whose clients want to go beyond it; `sets_forwarding`:
    it turns forwarding on itself; `port`: the UDP port that is listened on, 0 for any; `needs_nft`: what nftables are
    wanted for, empty: nothing; `ipv6`: the tunnel is sure to carry it; `full_ipv4`: all of IPv4 goes into the tunnel;
    `mtu`: the tunnel's in bytes, 0: not known."""

    forwards_ipv4: bool = False
    forwards_ipv6: bool = False
    sets_forwarding: bool = False
    port: int = 0
    needs_nft: str = ""
    ipv6: bool = False
    full_ipv4: bool = False
    mtu: int = 0
    tun_name: str = "vpnrs0"


def preflight(plan: Plan) -> list[Finding]:
    """→ everything that is wrong on this host for that plan: errors that would stop the start, and warnings."""
    findings = [_error(text) for text in (*_capabilities(plan), _device(), _run_directory(), _nft(plan)) if text]
    if not plan.sets_forwarding:
        for wanted, key in (
            (plan.forwards_ipv4, "net/ipv4/ip_forward"),
            (plan.forwards_ipv6, "net/ipv6/conf/all/forwarding"),
        ):
            if wanted and read_sysctl(key) != "1":
                name = key.replace("/", ".")
                findings.append(
                    Finding("warning", f"{name} is off: clients reach this host and nothing behind it; "
                            f"turn it on with 'sysctl -w {name}=1', or set 'enable = true' under [forwarding]")
                )  # fmt: skip
    return findings


def require(plan: Plan) -> list[Finding]:
    """→ the warnings. Raises HostError with the first error."""
    findings = preflight(plan)
    for finding in findings:
        if finding.level == "error":
            raise HostError(finding.text)
    return findings


def effective_capabilities(status: str) -> int:
    """The bit set of CapEff in a /proc/<pid>/status text; 0 if it is not there."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def missing_capability(capability: int, python: str) -> str:
    """What to tell someone who lacks it."""
    name = _NAMES[capability]
    return (
        f"{name} is missing: run as root, or grant it with 'setcap {name.lower()}+ep {python}', or in a systemd unit "
        f"with 'AmbientCapabilities={name}'"
    )


def _device() -> str | None:
    if not os.path.exists(tun.DEVICE):
        return tun.no_device()
    if not os.access(tun.DEVICE, os.R_OK | os.W_OK):
        return f"{tun.DEVICE} may not be opened by this user: 'chmod 0666 {tun.DEVICE}', or run as root"
    return None


def _capabilities(plan: Plan) -> list[str]:
    held = effective_capabilities(Path("/proc/self/status").read_text())
    needed = [CAP_NET_ADMIN]
    if 0 < plan.port < int(read_sysctl("net/ipv4/ip_unprivileged_port_start") or 1024):
        needed.append(CAP_NET_BIND_SERVICE)
    # setcap wants the file itself, not one of the links that a virtual environment is made of.
    python = os.path.realpath(sys.executable)
    return [missing_capability(capability, python) for capability in needed if not held >> capability & 1]


def _run_directory() -> str | None:
    base = base_directory()
    place = base
    while not place.exists():
        place = place.parent
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return None
    return (
        f"the run directory {base} cannot be made or written by this user: 'install -d -o {os.geteuid()} {base}' as "
        f"root, or set {BASE_VARIABLE} to a directory that can"
    )


def _nft(plan: Plan) -> str | None:
    if not plan.needs_nft or nft.available():
        return None
    return f"{plan.needs_nft} needs nftables, but {nft.MISSING}, or set it to false"


def _error(text: str) -> Finding:
    return Finding("error", text)
