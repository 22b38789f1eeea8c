"""What this host lacks for what is planned, each with the command that mends it: rules over facts, no I/O but to mend.

A new check is a generator over (facts, plan) and a line in _RULES.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from vpnrs_core.errors import HostError
from vpnrs_core.host import leftovers, tun
from vpnrs_core.host.facts import HostFacts
from vpnrs_core.host.preflight import Plan, preflight
from vpnrs_core.interfaces.tun import OFFLOADS

# Bytes of a UDP socket's buffers that keep a burst (docs/configuration.md, [quic] socket_buffer).
_BUFFER: Final = 4 << 20
# QUIC and our framing (config.checks), UDP, and IPv4 or IPv6: bytes around an inner packet.
_OVERHEAD: Final = {4: 44 + 28, 6: 44 + 48}
_FORWARDING: Final = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


@dataclass(frozen=True)
class Diagnosis:
    """`text` says what is, and what follows from it; `remedy` is a command line, empty: there is none to give; `mend`
    does it, and is there only where nothing can be lost by it."""

    level: Literal["ok", "warning", "error"]
    topic: str
    text: str
    remedy: str = ""
    mend: Callable[[], object] | None = None


def examine(facts: HostFacts, plan: Plan) -> list[Diagnosis]:
    """All of it, in the order in which one would mend it. What the start would refuse is an error."""
    return [diagnosis for rule in _RULES for diagnosis in rule(facts, plan)]


def _start(_facts: HostFacts, plan: Plan) -> Iterator[Diagnosis]:
    """What the start itself checks (host.preflight), in its words; forwarding has a rule of its own here."""
    found = [finding for finding in preflight(plan) if finding.level == "error"]
    for finding in found:
        mend = _load_driver if finding.text == tun.no_device() and os.geteuid() == 0 else None
        yield Diagnosis("error", "privileges", finding.text, "modprobe tun" if mend else "", mend)
    if not found:
        yield Diagnosis("ok", "privileges", f"{tun.DEVICE} and the capabilities are there")


def _offloads(facts: HostFacts, _plan: Plan) -> Iterator[Diagnosis]:
    if facts.tun_offloads is None:
        yield Diagnosis("warning", "offloads", "no TUN device can be opened, so its offloads are not known")
    elif facts.tun_offloads != OFFLOADS:
        missing = ", ".join(sorted(OFFLOADS - facts.tun_offloads))
        yield Diagnosis("warning", "offloads", f"this kernel's TUN has no {missing}: UDP is slower; Linux 6.2 has them")
    else:
        yield Diagnosis("ok", "offloads", "the TUN takes super-packets of TCP and UDP")
    lacking = [name for name, there in (("UDP_SEGMENT", facts.udp_gso), ("UDP_GRO", facts.udp_gro)) if not there]
    if lacking:
        yield Diagnosis("warning", "offloads", f"this kernel's UDP has no {' and no '.join(lacking)}: QUIC is slower")


def _buffers(facts: HostFacts, _plan: Plan) -> Iterator[Diagnosis]:
    if facts.net_admin:
        yield Diagnosis("ok", "buffers", "UDP buffers are as large as configured: CAP_NET_ADMIN passes the limits")
        return
    for key in ("net/core/rmem_max", "net/core/wmem_max"):
        name, value = key.replace("/", "."), int(facts.sysctls.get(key, "0"))
        if value < _BUFFER:
            text = f"{name} is {value}: UDP buffers hold that many bytes at most, and bursts are lost"
            yield Diagnosis("warning", "buffers", text, f"sysctl -w {name}={_BUFFER}")


def _forwarding(facts: HostFacts, plan: Plan) -> Iterator[Diagnosis]:
    for version, wanted in ((4, plan.forwards_ipv4), (6, plan.forwards_ipv6)):
        name = _FORWARDING[version].replace("/", ".")
        if not wanted or plan.sets_forwarding:
            continue
        if facts.sysctls.get(_FORWARDING[version]) != "1":
            text = f"{name} is off: clients reach this host and nothing behind it"
            yield Diagnosis("warning", "forwarding", text, f"sysctl -w {name}=1")
        else:
            yield Diagnosis("ok", "forwarding", f"{name} is on")
    if plan.forwards_ipv4 or plan.forwards_ipv6:
        for chain in facts.forward_drops:
            text = f"the firewall's chain '{chain}' drops what is forwarded unless a rule of its own lets it pass"
            remedy = f"nft insert rule {chain} iifname {plan.tun_name} accept"
            yield Diagnosis("warning", "forwarding", text, remedy)


def _families(facts: HostFacts, plan: Plan) -> Iterator[Diagnosis]:
    if plan.ipv6:
        for key in ("net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/default/disable_ipv6"):
            if facts.sysctls.get(key, "1") != "0":
                name = key.replace("/", ".")
                text = f"IPv6 is off on this host ({name}), and the tunnel is to carry it"
                yield Diagnosis("error", "ipv6", text, f"sysctl -w {name}=0")


def _rp_filter(facts: HostFacts, plan: Plan) -> Iterator[Diagnosis]:
    """The kernel takes the larger of `all` and the interface's own."""
    everywhere = int(facts.sysctls.get("net/ipv4/conf/all/rp_filter", "0"))
    for link in facts.links:
        value = max(everywhere, int(facts.sysctls.get(f"net/ipv4/conf/{link.name}/rp_filter", "0")))
        if value == 1 and link.up and not link.loopback and plan.full_ipv4:
            text = (
                f"rp_filter is strict on {link.name}: with all of IPv4 in the tunnel, who connects to this host from "
                "beyond its own networks is not answered"
            )
            yield Diagnosis("warning", "rp_filter", text, "sysctl -w net.ipv4.conf.all.rp_filter=2")


def _mtu(facts: HostFacts, plan: Plan) -> Iterator[Diagnosis]:
    """Of the interfaces that a default route leaves by."""
    if not plan.mtu:
        return
    for version in (4, 6):
        ways = {r.index for r in facts.routes if r.network.prefixlen == 0 and r.network.version == version}
        for link in facts.links:
            need = plan.mtu + _OVERHEAD[version]
            if link.index in ways and link.mtu < need:
                text = f"{link.name} has an MTU of {link.mtu} bytes, and a full datagram over IPv{version} has {need}"
                remedy = (
                    f"set [tun] mtu to at most {link.mtu - _OVERHEAD[version]}, or: ip link set {link.name} mtu {need}"
                )
                yield Diagnosis("warning", "mtu", text, remedy)


def _tools(facts: HostFacts, plan: Plan) -> Iterator[Diagnosis]:
    if not facts.nft and not plan.needs_nft:
        text = "the command 'nft' is missing: kill_switch, nat44 and clamp_mss need it"
        yield Diagnosis("warning", "nftables", text, "apt-get install nftables")
    if facts.dns:
        yield Diagnosis("ok", "dns", f"DNS servers of the tunnel go to {facts.dns}")
    else:
        text = "nothing here takes the DNS servers of a tunnel: neither systemd-resolved, nor resolvconf, nor a "
        yield Diagnosis("warning", "dns", text + "resolv.conf that may be written", "apt-get install systemd-resolved")


def _left_behind(facts: HostFacts, _plan: Plan) -> Iterator[Diagnosis]:
    for left in facts.leftovers:
        if left.damaged:
            yield Diagnosis("error", "leftovers", f"instance {left.instance} does not run, and {left.damaged}")
            continue
        text = f"instance {left.instance} does not run, and has left: {'; '.join(left.changes)}"
        if left.elsewhere:
            where = " in another network namespace"
            yield Diagnosis("warning", "leftovers", text + where, f"vpnrs stop --instance {left.instance}, in there")
        else:
            remedy = f"vpnrs stop --instance {left.instance}"
            yield Diagnosis("error", "leftovers", text, remedy, _clearing(left.instance))


def _clearing(instance: str) -> Callable[[], object]:
    return lambda: leftovers.clear(instance)


def _load_driver() -> None:
    try:
        subprocess.run(["modprobe", "tun"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(f"'modprobe tun' failed: {error}") from error


_RULES: Final = (
    _start, _left_behind, _families, _forwarding, _rp_filter, _mtu, _offloads, _buffers, _tools
)  # fmt: skip
