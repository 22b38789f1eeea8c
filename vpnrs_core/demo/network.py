"""The demo's network: namespaces and the wires to their server, and what they hold before and after.

    client       192.0.2.2 ── 192.0.2.1      server  198.51.100.1 ── 198.51.100.2    host behind
                                                   2001:db8:51::1 ── 2001:db8:51::2
    client6 2001:db8:6::2 ── 2001:db8:6::1  server     203.0.113.1 ── 203.0.113.2     host with IPv4 only

The prefixes are those for documentation (RFC 5737, RFC 3849). All of it exists inside the namespaces only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vpnrs_core.errors import HostError
from vpnrs_core.host import namespace

CLIENT, SERVER, BEHIND = "client", "server", "behind"
CLIENT6, IPV4_ONLY = "client6", "ipv4-only"
LABELS: Final = (CLIENT, SERVER, BEHIND, CLIENT6, IPV4_ONLY)

SERVER_UNDERLAY: Final = "192.0.2.1"
SERVER_UNDERLAY6: Final = "2001:db8:6::1"
BEHIND_NETWORKS: Final = ("198.51.100.0/24", "2001:db8:51::/64")
BEHIND_HOSTS: Final = {4: "198.51.100.2", 6: "2001:db8:51::2"}
IPV4_ONLY_HOST: Final = "203.0.113.2"

# Namespace → interface → its addresses.
_ADDRESSES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    CLIENT: {"to-server": ("192.0.2.2/24",)},
    SERVER: {
        "to-client": ("192.0.2.1/24",),
        "to-behind": ("198.51.100.1/24", "2001:db8:51::1/64"),
        "to-client6": ("2001:db8:6::1/64",),
        "to-ipv4-only": ("203.0.113.1/24",),
    },
    BEHIND: {"to-server": ("198.51.100.2/24", "2001:db8:51::2/64")},
    CLIENT6: {"to-server": ("2001:db8:6::2/64",)},
    IPV4_ONLY: {"to-server": ("203.0.113.2/24",)},
}
_WIRES: Final = (
    (CLIENT, "to-server", SERVER, "to-client"),
    (SERVER, "to-behind", BEHIND, "to-server"),
    (CLIENT6, "to-server", SERVER, "to-client6"),
    (SERVER, "to-ipv4-only", IPV4_ONLY, "to-server"),
)
# The hosts behind answer whom they do not know through the server.
_GATEWAYS: Final = {BEHIND: ("198.51.100.1", "2001:db8:51::1"), IPV4_ONLY: ("203.0.113.1",)}

_NODAD: Final = 0x02
_SCOPE_LINK: Final = 253
_VERSION: Final = {2: 4, 10: 6}
_READY_WAIT: Final = 5.0
_SETTLE_WAIT: Final = 2.0
_GRACE: Final = 5.0


class Network:
    """`suffix` makes the names this demo's own. Everything may be called at any stage; `close` twice."""

    def __init__(self, suffix: str) -> None:
        self.names = {label: f"vpnrs-demo-{suffix}-{label}" for label in LABELS}
        self._before: dict[str, frozenset[str]] = {}

    def build(self) -> None:
        """Raises HostError, OSError."""
        for name in self.names.values():
            namespace.create(name)
            with namespace.entered(name):
                # Addresses are usable at once; there is nobody whose address they could be.
                for scope in ("all", "default"):
                    Path(f"/proc/sys/net/ipv6/conf/{scope}/accept_dad").write_text("0")
                    if name == self.names[IPV4_ONLY]:
                        Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
        try:
            for left, left_end, right, right_end in _WIRES:
                self._wire(left, left_end, right, right_end)
            for label in LABELS:
                self._configure(label)
        except NetlinkError as error:
            raise HostError(f"the demo's network: {error.args[-1]}") from error
        _until(_READY_WAIT, lambda: all(self._ready(label) for label in LABELS), "the demo's network")
        self._before = {label: self._contents(label) for label in LABELS}

    def changes(self) -> list[str]:
        """What the namespaces hold that they did not when they were built, or no longer hold; after a moment in
        which the kernel may finish."""
        deadline = time.monotonic() + _SETTLE_WAIT
        while found := [text for label in self._before for text in self._compare(label)]:
            if time.monotonic() > deadline:
                return found
            time.sleep(0.02)
        return []

    def processes(self) -> list[tuple[str, int]]:
        """(label, pid) of everything that runs in the namespaces."""
        return [(label, pid) for label, name in self.names.items() for pid in namespace.processes(name)]

    def end_processes(self) -> list[str]:
        """End what still runs: SIGTERM, then SIGKILL → what had to be killed."""
        self._signal(signal.SIGTERM)
        killed = [f"process {pid} in {self.names[label]} ignored SIGTERM" for label, pid in self.processes()]
        self._signal(signal.SIGKILL)
        return killed

    def close(self) -> list[str]:
        """Remove the namespaces → those that are still there."""
        for name in self.names.values():
            with contextlib.suppress(HostError):
                namespace.delete(name)
        return [f"namespace {name}" for name in self.names.values() if namespace.exists(name)]

    def _signal(self, number: int) -> None:
        for _, pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + _GRACE
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.02)

    @contextlib.contextmanager
    def _netlink(self, label: str) -> Iterator[Any]:
        with namespace.entered(self.names[label]), IPRoute() as netlink:
            yield netlink

    def _wire(self, left: str, left_end: str, right: str, right_end: str) -> None:
        there = os.open(namespace.DIRECTORY / self.names[right], os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self._netlink(left) as netlink:
                netlink.link("add", ifname=left_end, kind="veth", peer={"ifname": right_end, "net_ns_fd": there})
        finally:
            os.close(there)

    def _configure(self, label: str) -> None:
        with self._netlink(label) as netlink:
            netlink.link("set", index=1, state="up")
            for interface, addresses in _ADDRESSES[label].items():
                index = netlink.link_lookup(ifname=interface)[0]
                for address in map(ip_interface, addresses):
                    extra = {"flags": _NODAD} if address.version == 6 else {}
                    netlink.addr(
                        "add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **extra
                    )
                netlink.link("set", index=index, state="up")
            for gateway in _GATEWAYS.get(label, ()):
                netlink.route("add", dst="default" if "." in gateway else "::/0", gateway=gateway)

    def _ready(self, label: str) -> bool:
        """All wires have a carrier, and the link-local addresses, which the kernel makes where it knows IPv6."""
        with self._netlink(label) as netlink:
            for interface in _ADDRESSES[label]:
                index = netlink.link_lookup(ifname=interface)[0]
                state = netlink.get_links(index)[0].get_attr("IFLA_OPERSTATE")
                scopes = [address["scope"] for address in netlink.get_addr(index=index)]
                if state != "UP" or (label != IPV4_ONLY and _SCOPE_LINK not in scopes):
                    return False
        return True

    def _compare(self, label: str) -> list[str]:
        before, now = self._before[label], self._contents(label)
        return [f"{label}: gone: {text}" for text in sorted(before - now)] + [
            f"{label}: left: {text}" for text in sorted(now - before)
        ]

    def _contents(self, label: str) -> frozenset[str]:
        """One line for each link, address, route, rule and forwarding switch."""
        with self._netlink(label) as netlink:
            names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink.get_links()}
            found = {f"link {name}" for name in names.values()}
            for address in netlink.get_addr():
                found.add(
                    f"address {address.get_attr('IFA_ADDRESS')}/{address['prefixlen']} on {names[address['index']]}"
                )
            for family in (2, 10):
                for route in netlink.get_routes(family=family):
                    out = names.get(route.get_attr("RTA_OIF"))
                    found.add(
                        f"route {route.get_attr('RTA_DST') or 'default'}/{route['dst_len']} "
                        f"via {route.get_attr('RTA_GATEWAY')} on {out}, table {route.get_attr('RTA_TABLE')}"
                    )
                for rule in netlink.get_rules(family=family):
                    found.add(f"IPv{_VERSION[family]} rule {rule.get_attr('FRA_PRIORITY') or 0}")
            for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                found.add(f"{switch} = {Path('/proc/sys/net', switch).read_text().strip()}")
        return frozenset(found)


def _until(seconds: float, ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise HostError(f"{what} is not ready within {seconds:g} s")
        time.sleep(0.01)
