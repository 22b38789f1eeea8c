"""Routing: which peer an egress packet goes to, by longest prefix."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Generic, TypeVar

from vpnrs_core.interfaces.common import Address, Network
from vpnrs_core.packet.prefix import PrefixTable

P = TypeVar("P")


class Routes(Generic[P]):
    """Networks to peers. Where several peers have the very same network the latest gets the packets, and the one
    before gets them back when that one goes: a client that reconnects is not cut off by its former session."""

    def __init__(self) -> None:
        self._table: PrefixTable[P] = PrefixTable()
        self._claims: dict[Network, list[P]] = {}
        self.get = self._table.get

    def add(self, networks: Iterable[Network | Address], peer: P) -> None:
        for given in networks:
            network: Network = ip_network(given)
            claims = self._claims.setdefault(network, [])
            if peer not in claims:
                claims.append(peer)
            self._table.add(network, claims[-1])

    def remove(self, networks: Iterable[Network | Address], peer: P) -> None:
        """Take the peer's claim back. A network that it does not have is passed over."""
        for given in networks:
            network: Network = ip_network(given)
            claims = self._claims.get(network, [])
            if peer not in claims:
                continue
            claims.remove(peer)
            if claims:
                self._table.add(network, claims[-1])
            else:
                del self._claims[network]
                self._table.remove(network)
