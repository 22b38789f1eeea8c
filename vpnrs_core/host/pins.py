"""Pins: what the transport sends to keeps going by the underlay, whatever is routed into the tunnel.

A pin is a host route by the way that the underlay has. Beneath each lies a backstop, an unreachable route that nobody
sees while there is a pin: with the interface that a pin goes by, the kernel takes the pin away, and without a backstop
the transport's packets would enter the tunnel that they carry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, ClassVar, Final, Self

from vpnrs_core.host.changes import Change
from vpnrs_core.host.netlink import ROUTE_PROTOCOL, HostRoute, Netlink
from vpnrs_core.interfaces.common import Network

# A pin's metric, and a backstop's, is this and the index of the TUN: tunnels of one host do not meet.
PIN_METRIC: Final = 157 << 16
BACKSTOP_METRIC: Final = 15_700 << 16


@dataclass(frozen=True)
class Pin(Change):
    """The mark is the protocol number, and a metric that only this TUN's pins have."""

    KIND: ClassVar[str] = "pin"
    network: Network
    interface: str
    index: int
    gateway: str | None
    source: str | None
    metric: int
    onlink: bool = False

    def record(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "network": str(self.network),
            "interface": self.interface,
            "index": self.index,
            "gateway": self.gateway,
            "source": self.source,
            "metric": self.metric,
            "onlink": self.onlink,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        return cls(
            ip_network(record["network"]),
            str(record["interface"]),
            int(record["index"]),
            record["gateway"],
            record["source"],
            int(record["metric"]),
            bool(record["onlink"]),
        )

    async def apply(self, netlink: Netlink) -> None:
        await netlink.pin_route(self.network, self.index, self.gateway, self.source, self.metric, self.onlink)

    async def undo(self, netlink: Netlink, resumed: bool = False) -> None:
        if await self.is_ours(netlink):
            await netlink.unpin_route(self.network, self.index, self.gateway, self.source, self.metric)

    async def is_ours(self, netlink: Netlink) -> bool:
        return any(self.describes(route) for route in await netlink.routes())

    def describes(self, route: HostRoute) -> bool:
        there = (route.network, route.index, route.gateway, route.metric, route.protocol)
        return there == (self.network, self.index, self.gateway, self.metric, ROUTE_PROTOCOL)

    def __str__(self) -> str:
        way = f"via {self.gateway} by {self.interface}" if self.gateway else f"by {self.interface}"
        return f"route {self.network} {way}, beside the tunnel"


@dataclass(frozen=True)
class Backstop(Change):
    """The mark is the protocol number, and a metric that only this TUN's backstops have."""

    KIND: ClassVar[str] = "backstop"
    network: Network
    metric: int

    def record(self) -> dict[str, Any]:
        return {"kind": self.KIND, "network": str(self.network), "metric": self.metric}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        return cls(ip_network(record["network"]), int(record["metric"]))

    async def apply(self, netlink: Netlink) -> None:
        await netlink.add_unreachable(self.network, self.metric)

    async def undo(self, netlink: Netlink, resumed: bool = False) -> None:
        await netlink.remove_unreachable(self.network, self.metric)

    async def is_ours(self, netlink: Netlink) -> bool:
        return (self.network, self.metric) in await netlink.unreachables()

    def __str__(self) -> str:
        return f"route {self.network} unreachable without its pin"


def is_pin(route: HostRoute, tun: int) -> bool:
    """Whether it is one that the tunnel with this interface index made."""
    return route.protocol == ROUTE_PROTOCOL and route.metric == PIN_METRIC + tun


def to_pin(underlay: Iterable[Network], into_tunnel: Iterable[Network]) -> list[Network]:
    """What of the underlay the routes into the tunnel would swallow. Loopback and link-local addresses are nobody's
    to swallow: their own routes are always more specific."""
    routed = list(into_tunnel)
    return [
        target
        for target in dict.fromkeys(underlay)
        if not (target.is_loopback or target.is_link_local)
        and any(target.version == network.version and target.overlaps(network) for network in routed)
    ]


def way_to(target: Network, routes: Sequence[HostRoute], tun: int) -> HostRoute | None:
    """The host's own route to `target`: the most specific, then the smallest metric; None: there is none now. Routes
    into the tunnel with interface index `tun`, and its pins, do not count."""
    best: HostRoute | None = None
    for route in routes:
        network = route.network
        if network.version != target.version or not route.index or route.index == tun or is_pin(route, tun):
            continue
        if target.subnet_of(network) and (  # type: ignore[arg-type]  # same version
            best is None or (network.prefixlen, -route.metric) > (best.network.prefixlen, -best.metric)
        ):
            best = route
    return best


def pin_by(target: Network, way: HostRoute, tun: int) -> Pin:
    return Pin(target, way.interface, way.index, way.gateway, way.source, PIN_METRIC + tun, way.onlink)


def halves(network: Network) -> tuple[Network, ...]:
    """A default route as two half-routes, which win against the host's default route without touching it; any other
    network as it is."""
    return tuple(network.subnets()) if network.prefixlen == 0 else (network,)
