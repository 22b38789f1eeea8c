"""Netlink as this project needs it: links, addresses and routes, with errors that a person can act on."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Final, Self, TypeVar

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vpnrs_core.errors import HostError
from vpnrs_core.host.whole import whole
from vpnrs_core.interfaces.common import Address, Network

# Every route of ours carries this protocol number (rtnetlink's rtm_protocol; 157 is unassigned in iproute2's
# rt_protos): it is how a later start knows them again. `ip route show proto 157` lists them.
ROUTE_PROTOCOL: Final = 157

PROTOCOL_RA: Final = 9  # routes learned from router advertisements
MAIN_TABLE: Final = 254

_IFF_UP: Final = 0x1
_IFF_LOOPBACK: Final = 0x8
_IFA_F_NODAD: Final = 0x02
_SCOPE_LINK: Final = 253
_UNICAST: Final = 1
_LOCAL: Final = 2
_UNREACHABLE: Final = 7
_NO_ADDR_GEN: Final = 1  # IN6_ADDR_GEN_MODE_NONE
_RTNH_F_ONLINK: Final = 0x04
_RTNH_F_DOWN: Final = 0x01 | 0x10  # RTNH_F_DEAD, RTNH_F_LINKDOWN
_ABSENT: Final = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL})

T = TypeVar("T")


@dataclass(frozen=True)
class HostLink:
    """`mtu` in bytes."""

    index: int
    name: str
    mtu: int
    up: bool
    loopback: bool


@dataclass(frozen=True)
class HostAddress:
    """An address of this host. `network` is what is on-link by it: the peer's on a point-to-point interface."""

    index: int
    interface: str
    address: Address
    prefixlen: int
    network: Network


@dataclass(frozen=True)
class HostRoute:
    """A unicast route, of a multipath one its first path that is alive. `index` is the outgoing interface, 0 where the
    kernel names none; `gateway` None: on-link; `source` is the address that it prefers to send from; `onlink`: the
    gateway is reached by that interface though no network on it says so."""

    network: Network
    index: int
    interface: str
    gateway: str | None
    protocol: int
    table: int
    metric: int
    source: str | None = None
    onlink: bool = False


class Netlink:
    """One netlink socket in the running loop and in the network namespace it was opened in."""

    def __init__(self, ipr: AsyncIPRoute) -> None:
        self._ipr = ipr
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls) -> Self:
        ipr = AsyncIPRoute()
        await ipr.setup_endpoint()
        return cls(ipr)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._ipr.close()
        # close() leaves the transport's end to the loop's next pass; without it the socket is still open behind us.
        await asyncio.sleep(0)

    # Reading

    async def links(self) -> list[HostLink]:
        return [
            HostLink(
                message["index"],
                message.get("ifname") or "",
                message.get("mtu") or 0,
                bool(message["flags"] & _IFF_UP),
                bool(message["flags"] & _IFF_LOOPBACK),
            )
            for message in await self._dump("link")
        ]

    async def link(self, name: str) -> HostLink | None:
        return next((link for link in await self.links() if link.name == name), None)

    async def addresses(self) -> list[HostAddress]:
        names = {link.index: link.name for link in await self.links()}
        found = []
        for message in await self._dump("addr"):
            remote = message.get("address")
            local = message.get("local") or remote
            if local is None:
                continue
            index, prefixlen = message["index"], message["prefixlen"]
            network = ip_network(f"{remote or local}/{prefixlen}", strict=False)
            found.append(HostAddress(index, names.get(index, ""), ip_address(local), prefixlen, network))
        return found

    async def routes(self, table: int | None = MAIN_TABLE) -> list[HostRoute]:
        """Unicast routes of one table, None: of all."""
        names = {link.index: link.name for link in await self.links()}
        found = []
        for message in await self._dump("route"):
            number = message.get("table") or message["table"]
            if message["type"] != _UNICAST or (table is not None and number != table):
                continue
            default = "::" if message["family"] == 10 else "0.0.0.0"
            network = ip_network(f"{message.get('dst') or default}/{message['dst_len']}")
            metric, source = message.get("priority") or 0, message.get("prefsrc")
            index, gateway, onlink = _path(message)
            name = names.get(index, "")
            found.append(HostRoute(network, index, name, gateway, message["proto"], number, metric, source, onlink))
        return found

    # Links

    async def set_link(
        self, index: int, *, mtu: int | None = None, up: bool | None = None, txqueuelen: int | None = None
    ) -> None:
        """Raises HostError when the kernel refuses."""
        wanted: dict[str, Any] = {}
        if mtu is not None:
            wanted["mtu"] = mtu
        if txqueuelen is not None:
            wanted["txqlen"] = txqueuelen
        if up is not None:
            wanted["state"] = "up" if up else "down"
        await self._change(f"setting {', '.join(wanted)} on interface {index}", "link", "set", index=index, **wanted)

    async def silence_ipv6(self, index: int) -> bool:
        """No link-local address, hence no router solicitations (addrgenmode none). False: there is no IPv6 here."""
        mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _NO_ADDR_GEN)]}
        try:
            await self._ask("link", "set", index=index, IFLA_AF_SPEC={"attrs": [("AF_INET6", mode)]})
        except NetlinkError:
            return False
        return True

    # Addresses and routes

    async def add_address(self, index: int, address: Address, prefixlen: int) -> None:
        """Without duplicate address detection. Raises HostError, also when it is there already."""
        extra = {"flags": _IFA_F_NODAD} if address.version == 6 else {}
        await self._change(
            f"adding the address {address}/{prefixlen}",
            "addr", "add", index=index, address=str(address), prefixlen=prefixlen, **extra,
        )  # fmt: skip

    async def is_local(self, address: Address) -> bool:
        """Whether packets for the address are delivered to this host by now."""
        try:
            found = await self._ask("route", "get", dst=str(address))
        except NetlinkError:
            return False
        return any(message["type"] == _LOCAL for message in found)

    async def remove_address(self, index: int, address: Address, prefixlen: int) -> bool:
        """False: it was not there."""
        return await self._remove(
            f"removing the address {address}/{prefixlen}",
            "addr", "del", index=index, address=str(address), prefixlen=prefixlen,
        )  # fmt: skip

    async def add_route(self, network: Network, index: int) -> None:
        """An on-link route with our mark. Raises HostError, also when the host has that very route already."""
        await self._change(f"adding the route {network}", "route", "add", **_route(network, index))

    async def remove_route(self, network: Network, index: int) -> bool:
        """Only one that has our mark and leads to that interface. False: there is none."""
        return await self._remove(f"removing the route {network}", "route", "del", **_route(network, index))

    async def pin_route(
        self, network: Network, index: int, gateway: str | None, source: str | None, metric: int, onlink: bool = False
    ) -> None:
        """A route by the underlay with our mark; one of the same network and metric is replaced, in one step."""
        pin = _pin(network, index, gateway, source, metric)
        if onlink:
            pin["flags"] = _RTNH_F_ONLINK
        await self._change(f"pinning {network}", "route", "replace", **pin)

    async def unpin_route(
        self, network: Network, index: int, gateway: str | None, source: str | None, metric: int
    ) -> bool:
        """Only that very one, with our mark. False: there is none."""
        return await self._remove(
            f"taking back the pin of {network}", "route", "del", **_pin(network, index, gateway, source, metric)
        )  # fmt: skip

    async def add_unreachable(self, network: Network, metric: int) -> None:
        await self._change(f"making {network} unreachable", "route", "add", **_unreachable(network, metric))

    async def remove_unreachable(self, network: Network, metric: int) -> bool:
        return await self._remove(f"freeing {network}", "route", "del", **_unreachable(network, metric))

    async def unreachables(self) -> list[tuple[Network, int]]:
        """(network, metric) of those in the main table that bear our mark."""
        found = []
        for message in await self._dump("route"):
            if message["type"] == _UNREACHABLE and message["proto"] == ROUTE_PROTOCOL and message.get("dst"):
                found.append((ip_network(f"{message.get('dst')}/{message['dst_len']}"), message.get("priority") or 0))
        return found

    async def _dump(self, what: str) -> list[Any]:
        try:
            return await whole(self._alone(self._read, what))
        except NetlinkError as error:
            raise HostError(f"listing the host's {what} table failed: {os.strerror(error.code)}") from error

    async def _read(self, what: str) -> list[Any]:
        return [message async for message in await getattr(self._ipr, what)("dump")]

    async def _ask(self, what: str, command: str, **arguments: Any) -> Any:
        return await whole(self._alone(getattr(self._ipr, what), command, **arguments))

    async def _alone(self, exchange: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """One exchange at a time: while half a dump is still in the socket, the kernel refuses the next (EBUSY)."""
        async with self._turn:
            return await exchange(*args, **kwargs)

    async def _change(self, doing: str, what: str, command: str, **arguments: Any) -> None:
        try:
            await self._ask(what, command, **arguments)
        except NetlinkError as error:
            raise HostError(f"{doing} failed: {_advice(error.code)}") from error

    async def _remove(self, doing: str, what: str, command: str, **arguments: Any) -> bool:
        try:
            await self._ask(what, command, **arguments)
        except NetlinkError as error:
            if error.code in _ABSENT:
                return False
            raise HostError(f"{doing} failed: {_advice(error.code)}") from error
        return True


def _route(network: Network, index: int) -> dict[str, Any]:
    route: dict[str, Any] = {"dst": str(network), "oif": index, "proto": ROUTE_PROTOCOL}
    if network.version == 4:
        route["scope"] = _SCOPE_LINK
    else:
        # Without it pyroute2 takes `default` for IPv4's.
        route["family"] = 10
    return route


def _path(message: Any) -> tuple[int, str | None, bool]:
    """Outgoing interface, gateway, and whether that is said to be on the link."""
    paths = message.get("multipath") or [message]
    path = next((path for path in paths if not path["flags"] & _RTNH_F_DOWN), paths[0])
    via = path.get("via")
    gateway = path.get("gateway") or (via.get("addr") if via else None)
    return path.get("oif") or 0, gateway, bool(path["flags"] & _RTNH_F_ONLINK)


def _pin(network: Network, index: int, gateway: str | None, source: str | None, metric: int) -> dict[str, Any]:
    route = {**_route(network, index), "priority": metric}
    if source is not None:
        route["prefsrc"] = source
    if gateway is not None:
        route.pop("scope", None)
        if ip_address(gateway).version == network.version:
            route["gateway"] = gateway
        else:
            route["via"] = {"family": 10, "addr": gateway}
    return route


def _unreachable(network: Network, metric: int) -> dict[str, Any]:
    family = {"family": 10} if network.version == 6 else {}
    return {"dst": str(network), "type": _UNREACHABLE, "proto": ROUTE_PROTOCOL, "priority": metric, **family}


def _advice(code: int) -> str:
    """What the kernel's error number means here, and what to do."""
    hints = {
        errno.EPERM: "no permission: run as root or with CAP_NET_ADMIN",
        errno.EEXIST: "the host has it already: remove it there, or choose another",
        errno.EACCES: "IPv6 is disabled on this host: 'sysctl -w net.ipv6.conf.default.disable_ipv6=0' turns it on; "
        'or leave it out: wanted = ["0.0.0.0/0"] at a client, no [addresses] ipv6 at a server',
        errno.EOPNOTSUPP: "this kernel has no such address family: is IPv6 disabled?",
        errno.ENODEV: "the interface is gone",
    }
    return hints.get(code) or os.strerror(code)
