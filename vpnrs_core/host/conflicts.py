"""What must not be put on a host because of what it has already: pure rules over lists of addresses and routes."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from vpnrs_core.errors import HostError
from vpnrs_core.host.netlink import HostAddress
from vpnrs_core.interfaces.common import Address, Network


def check_address(address: Address, prefixlen: int, present: Iterable[HostAddress]) -> None:
    """Raises HostError when the host (our own interface not counted) has the address, or is on a network that
    overlaps the one that comes with it."""
    network = network_of(address, prefixlen)
    for other in present:
        if other.address == address:
            raise HostError(
                f"the address {address} is already on this host, on interface {other.interface}: choose other tunnel "
                f"addresses, or stop what uses them"
            )
        if prefixlen < address.max_prefixlen and _counts(other) and _overlap(network, other.network):
            raise HostError(
                f"the tunnel network {network} overlaps {other.network}, which this host is on by interface "
                f"{other.interface}: choose another tunnel network"
            )


def check_route(network: Network, present: Iterable[HostAddress], *, declared: bool = False) -> None:
    """Raises HostError when the route would take traffic from a network that the host is on. Prefixes of up to one
    bit are exempt: they stand for "everything", and what is on-link stays more specific. `declared`: a plugin of this
    very host asks for it, not a peer; it may take a single address that is not the host's own."""
    if network.prefixlen <= 1:
        return
    if declared and network.prefixlen == network.max_prefixlen:
        present = [other for other in present if other.address == network.network_address]
    for other in present:
        if _counts(other) and _overlap(network, other.network):
            raise HostError(
                f"the route {network} into the tunnel overlaps {other.network}, which this host is on by interface "
                f"{other.interface}: leave it out, or name the parts of it that lie elsewhere"
            )


def check_underlay(network: Network, underlay: Iterable[Network]) -> None:
    """Raises HostError when the route is for the very address that the transport sends to (`underlay`): no route
    beside the tunnel could be more specific."""
    for target in underlay:
        if _overlap(network, target) and network.prefixlen >= target.prefixlen:
            raise HostError(
                f"the route {network} would send the traffic to the server itself into the tunnel: leave it out, or "
                "name a network around it, which leaves the server out by itself"
            )


def network_of(address: Address, prefixlen: int) -> Network:
    return ip_network((address, prefixlen), strict=False)


def _counts(other: HostAddress) -> bool:
    # Loopback and link-local networks are on every host, behind every interface; nothing is routed to them.
    return not (other.network.is_loopback or other.network.is_link_local)


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
