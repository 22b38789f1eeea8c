"""Explicit address mappings (RFC 7757): which IPv6 address stands for which IPv4 address in stateless translation."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from vpnrs_core.packet.prefix import PrefixTable
from vpnrs_nat64.translate.prefix import Prefix


class Eamt:
    """A table of explicit mappings, and the translation prefix for every address that none of them holds."""

    def __init__(self, default: Prefix | None = None) -> None:
        self._default = default
        self._by_v4: PrefixTable[tuple[IPv4Network, IPv6Network]] = PrefixTable()
        self._by_v6: PrefixTable[tuple[IPv4Network, IPv6Network]] = PrefixTable()

    def add(self, v4: IPv4Network, v6: IPv6Network) -> None:
        """Raises ValueError: the IPv6 side leaves fewer suffix bits than the IPv4 side (RFC 7757 §3.2)."""
        if 32 - v4.prefixlen > 128 - v6.prefixlen:
            raise ValueError(f"{v6} has fewer bits behind its prefix than {v4}")
        self._by_v4.add(v4, (v4, v6))
        self._by_v6.add(v6, (v4, v6))

    def to_v6(self, v4: bytes) -> bytes | None:
        """The IPv6 address for an IPv4 address, None: there is none. Suffix bits that IPv4 lacks are zero."""
        found = self._by_v4.get(v4, None)
        if found is None:
            return self._default.embed(v4) if self._default else None
        four, six = found
        bits = 32 - four.prefixlen
        suffix = int.from_bytes(v4, "big") & ((1 << bits) - 1)
        number = int(six.network_address) | suffix << (128 - six.prefixlen - bits)
        return number.to_bytes(16, "big")

    def to_v4(self, v6: bytes) -> bytes | None:
        """The IPv4 address for an IPv6 address, None: there is none. Suffix bits that IPv4 lacks are ignored."""
        found = self._by_v6.get(v6, None)
        if found is None:
            return self._default.extract(v6) if self._default else None
        four, six = found
        bits = 32 - four.prefixlen
        suffix = int.from_bytes(v6, "big") >> (128 - six.prefixlen - bits) & ((1 << bits) - 1)
        return (int(four.network_address) | suffix).to_bytes(4, "big")
