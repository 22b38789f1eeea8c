"""Which entries of the source tiers an address counts for, and whether it is allowed whatever happens. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from vpnrs_core.interfaces import Address, Network

IPV4, IPV6_64, IPV6_56 = "ipv4", "ipv6_64", "ipv6_56"


def address_of(source: str) -> Address | None:
    """An attempt's source, IPv4-mapped ones as IPv4, without a zone; None: the transport names peers otherwise."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def prefixes(source: str) -> Mapping[str, str]:
    """Tier → name in it."""
    address = address_of(source)
    if address is None:
        return {}
    if not isinstance(address, IPv6Address):
        return {IPV4: str(address)}
    return {IPV6_64: _network(address, 64), IPV6_56: _network(address, 56)}


def names(text: str) -> Mapping[str, str]:
    """Tier → name, of an address or one of these prefixes as a person writes it."""
    if "/" not in text:
        return prefixes(text)
    try:
        network = ip_network(text)
    except ValueError:
        return {}
    if isinstance(network, IPv4Network):
        return {IPV4: str(network.network_address)} if network.prefixlen == 32 else {}
    return {f"ipv6_{network.prefixlen}": str(network)} if network.prefixlen in (56, 64) else {}


def network_of(text: str) -> Network:
    """A network as a person writes it, IPv4-mapped ones as IPv4, as sources are. Raises ValueError."""
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ip_network((mapped, network.prefixlen - 96))
    return network


def is_allowed(source: str, allow: Sequence[Network]) -> bool:
    address = address_of(source)
    return address is not None and any(address in network for network in allow)


def _network(address: IPv6Address, length: int) -> str:
    return str(ip_network((address, length), strict=False))
