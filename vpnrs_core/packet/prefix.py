"""PrefixTable: longest prefix match over packed addresses of both families."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Generic, TypeVar

V = TypeVar("V")
D = TypeVar("D")
Network = IPv4Network | IPv6Network


class PrefixTable(Generic[V]):
    """A map from networks to values, asked by address. Host routes (/32, /128) cost one dict lookup; every other
    prefix length in use costs one more, longest first."""

    __slots__ = ("_hosts", "_lengths")

    def __init__(self) -> None:
        self._hosts: dict[bytes, V] = {}
        # By size of the address in bytes: (bits to shift out, network number → value), the longest prefix first.
        self._lengths: dict[int, list[tuple[int, dict[int, V]]]] = {4: [], 16: []}

    def get(self, address: bytes, default: D) -> V | D:
        """The value of the longest prefix that holds `address` (4 or 16 bytes, packed), else `default`."""
        if address in self._hosts:
            return self._hosts[address]
        lengths = self._lengths.get(len(address))
        if lengths:
            number = int.from_bytes(address, "big")
            for shift, networks in lengths:
                key = number >> shift
                if key in networks:
                    return networks[key]
        return default

    def add(self, network: Network | str, value: V) -> None:
        """Set the value of `network`, in place of the one it had."""
        network = ip_network(network)
        if network.prefixlen == network.max_prefixlen:
            self._hosts[network.network_address.packed] = value
            return
        shift = network.max_prefixlen - network.prefixlen
        lengths = self._lengths[network.max_prefixlen // 8]
        networks = dict(lengths).get(shift)
        if networks is None:
            networks = {}
            lengths.append((shift, networks))
            lengths.sort(key=lambda entry: entry[0])
        networks[int(network.network_address) >> shift] = value

    def remove(self, network: Network | str) -> V:
        """Take `network` out → its value. Raises KeyError when it is not there."""
        network = ip_network(network)
        if network.prefixlen == network.max_prefixlen:
            return self._hosts.pop(network.network_address.packed)
        shift = network.max_prefixlen - network.prefixlen
        lengths = self._lengths[network.max_prefixlen // 8]
        for index, (known, networks) in enumerate(lengths):
            if known == shift:
                value = networks.pop(int(network.network_address) >> shift)
                if not networks:
                    del lengths[index]
                return value
        raise KeyError(network)

    def items(self) -> Iterator[tuple[Network, V]]:
        """Every network with its value, hosts first, in no further order."""
        for address, value in self._hosts.items():
            yield ip_network(address), value
        for size, lengths in self._lengths.items():
            for shift, networks in lengths:
                for number, value in networks.items():
                    yield ip_network(((number << shift).to_bytes(size, "big"), size * 8 - shift)), value

    def __len__(self) -> int:
        return len(self._hosts) + sum(len(n) for lengths in self._lengths.values() for _, n in lengths)
