"""The source check, and what never crosses the tunnel: judged on packets as they come from a peer or from the TUN."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from vpnrs_core.interfaces.common import Address, Network
from vpnrs_core.packet.checks import is_broadcast, is_link_local, is_multicast
from vpnrs_core.packet.header import Header
from vpnrs_core.packet.prefix import PrefixTable


def confined(address: bytes) -> str | None:
    """The drop reason for an address that means nothing beyond its own link, None for all others."""
    first = address[0]
    if first < 0xE0 and first != 169:
        return None
    if is_link_local(address):
        return "link_local"
    return "multicast" if is_multicast(address) or is_broadcast(address) else None


class PeerCheck:
    """What one peer may send, from its session's leases and its further prefixes.

    On the server the source must be among them. On the client the destination must (`prefixes` is what the client
    routes or accepts), and the source must not be the client's own address."""

    __slots__ = ("_hosts", "_prefixes", "_server")

    def __init__(
        self, role: Literal["server", "client"], leases: Iterable[Address], prefixes: Iterable[Network]
    ) -> None:
        self._server = role == "server"
        self._hosts = frozenset(address.packed for address in leases)
        self._prefixes: PrefixTable[bool] = PrefixTable()
        for network in prefixes:
            self._prefixes.add(network, True)

    def verdict(self, header: Header) -> str | None:
        """The reason to drop an ingress packet with this header, None: it may pass."""
        source, destination = header.source, header.destination
        if self._server:
            if source not in self._hosts and not self._prefixes.get(source, False):
                # A client's host sends neighbour discovery and the like on its own: that is not spoofing.
                return confined(source) or "source"
            return confined(destination)
        if source in self._hosts:
            return "source"
        reason = confined(source) or confined(destination)
        if reason is None and destination not in self._hosts and not self._prefixes.get(destination, False):
            return "not_ours"
        return reason
