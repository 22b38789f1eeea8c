"""What there is on this host, read and changed by nobody: the ground that the doctor's rules stand on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vpnrs_core.errors import HostError
from vpnrs_core.host import nft, tun
from vpnrs_core.host.changes import list_sysctls, read_sysctl
from vpnrs_core.host.dns import RESOLV_CONF, asks_resolved, has_resolvconf
from vpnrs_core.host.leftovers import Leftover, leftovers
from vpnrs_core.host.netlink import HostAddress, HostLink, HostRoute, Netlink
from vpnrs_core.host.preflight import CAP_NET_ADMIN, effective_capabilities

# <linux/udp.h>
_UDP_SEGMENT, _UDP_GRO = 103, 104
_SYSCTLS = (
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/all/disable_ipv6",
    "net/ipv6/conf/default/disable_ipv6",
)


@dataclass(frozen=True)
class HostFacts:
    """`tun_offloads` None: no TUN could be opened to ask; `forward_drops`: chains of others that drop what is forwarded
    unless a rule of theirs lets it pass; `dns`: what answers for names here."""

    net_admin: bool = True
    links: Sequence[HostLink] = ()
    addresses: Sequence[HostAddress] = ()
    routes: Sequence[HostRoute] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    tun_offloads: frozenset[str] | None = None
    udp_gso: bool = True
    udp_gro: bool = True
    nft: bool = True
    forward_drops: Sequence[str] = ()
    dns: str = ""
    leftovers: Sequence[Leftover] = ()


def gather() -> HostFacts:
    """Look at the host, in this thread's network namespace. Raises HostError for what may not be read."""
    links, addresses, routes = asyncio.run(_network())
    gso, gro = _udp_options()
    keys = [*_SYSCTLS, *list_sysctls("net/ipv4/conf/*/rp_filter")]
    return HostFacts(
        net_admin=bool(effective_capabilities(Path("/proc/self/status").read_text()) >> CAP_NET_ADMIN & 1),
        links=links,
        addresses=addresses,
        routes=routes,
        sysctls={key: value for key in keys if (value := read_sysctl(key)) is not None},
        tun_offloads=_tun_offloads(),
        udp_gso=gso,
        udp_gro=gro,
        nft=nft.available(),
        forward_drops=_forward_drops(),
        dns=_dns(),
        leftovers=leftovers(),
    )


async def _network() -> tuple[list[HostLink], list[HostAddress], list[HostRoute]]:
    async with await Netlink.open() as netlink:
        return await netlink.links(), await netlink.addresses(), await netlink.routes()


def _tun_offloads() -> frozenset[str] | None:
    try:
        device = tun.Tun.open()
    except HostError:
        return None
    try:
        return device.offloads
    finally:
        device.close()


def _udp_options() -> tuple[bool, bool]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for option, value in ((_UDP_SEGMENT, 0), (_UDP_GRO, 1)):
            try:
                probe.setsockopt(socket.SOL_UDP, option, value)
                found.append(True)
            except OSError:
                found.append(False)
    return found[0], found[1]


def _forward_drops() -> list[str]:
    """ "family table chain" of those with policy drop on the forward hook, ours not counted."""
    found: list[str] = []
    with contextlib.suppress(HostError):  # no nft, or no permission to ask: another rule says so
        table = ""
        for line in nft.run_nft("list chains").splitlines():
            words = line.split()
            if words[:1] == ["table"]:
                table = " ".join(words[1:3])
            elif words[:1] == ["chain"]:
                chain = words[1]
            elif "hook forward" in line and "policy drop" in line and " vpnrs_" not in table:
                found.append(f"{table} {chain}")
    return found


def _dns() -> str:
    if asks_resolved():
        return "systemd-resolved" if shutil.which("resolvectl") else ""
    if has_resolvconf():
        return "resolvconf"
    return str(RESOLV_CONF) if os.access(RESOLV_CONF, os.W_OK) else ""
