"""What the kernel counted, from its own books: the TUN's statistics, nftables on the QUIC port, UDP of a namespace."""

from __future__ import annotations

import json
from dataclasses import dataclass

from vpnrs_core.testkit.netns import Namespace

PORT = 4433
IP_AND_UDP = 28  # bytes of headers of each IPv4 packet with UDP that a hook sees
TABLE = "vpnrs_soak"

_RULES = f"""
table inet {TABLE} {{
    counter quic_in {{ }}
    counter quic_out {{ }}
    chain input {{ type filter hook input priority 0; udp %s {PORT} counter name quic_in; }}
    chain output {{ type filter hook output priority 0; udp %s {PORT} counter name quic_out; }}
}}
"""


@dataclass(frozen=True)
class KernelCounts:
    """`udp_*` are bytes of UDP payload to and from the QUIC port; the rest is the TUN's: read by vpnrs, written by it.
    A burst that UDP offloads carry is one packet to the hooks, so payload is what can be compared."""

    udp_in: int
    udp_out: int
    frames_read: int
    bytes_read: int
    frames_written: int
    bytes_written: int


def watch(namespace: Namespace, *, server: bool) -> None:
    """Count QUIC from now on."""
    near, far = ("dport", "sport") if server else ("sport", "dport")
    namespace.run("nft", _RULES % (near, far))


def forget(namespace: Namespace) -> None:
    namespace.run("nft", f"delete table inet {TABLE}", check=False)


def counts(namespace: Namespace, tun: str) -> KernelCounts:
    listed = json.loads(namespace.run("nft", "-j", "list", "counters", "table", "inet", TABLE).stdout)["nftables"]
    udp = {
        entry["counter"]["name"]: entry["counter"]["bytes"] - IP_AND_UDP * entry["counter"]["packets"]
        for entry in listed
        if "counter" in entry
    }
    (link,) = json.loads(namespace.run("ip", "-j", "-s", "link", "show", tun).stdout)
    rx, tx = link["stats64"]["rx"], link["stats64"]["tx"]
    return KernelCounts(udp["quic_in"], udp["quic_out"], tx["packets"], tx["bytes"], rx["packets"], rx["bytes"])


def udp_datagrams(namespace: Namespace) -> dict[str, int]:
    """/proc/net/snmp, the lines of UDP: InDatagrams, OutDatagrams, RcvbufErrors …"""
    lines = [line.split() for line in namespace.run("cat", "/proc/net/snmp").stdout.splitlines() if line[:4] == "Udp:"]
    return dict(zip(lines[0][1:], map(int, lines[1][1:]), strict=True))
