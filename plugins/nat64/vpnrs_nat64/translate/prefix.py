"""IPv4 addresses embedded in IPv6 prefixes (RFC 6052, 8215), and the addresses that must not be translated."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Final

from vpnrs_core.packet.checks import is_link_local, is_loopback, is_multicast, is_unspecified
from vpnrs_core.packet.prefix import PrefixTable

WELL_KNOWN: Final = IPv6Network("64:ff9b::/96")

# Where the four octets of the IPv4 address are, by prefix length (RFC 6052 §2.2). Octet 8 ("u") is always zero.
_POSITIONS: Final = {
    32: (4, 5, 6, 7),
    40: (5, 6, 7, 9),
    48: (6, 7, 9, 10),
    56: (7, 9, 10, 11),
    64: (9, 10, 11, 12),
    96: (12, 13, 14, 15),
}


def _table(*networks: str) -> PrefixTable[bool]:
    table: PrefixTable[bool] = PrefixTable()
    for network in networks:
        table.add(IPv4Network(network), True)
    return table


# No packet on the way to or from another network bears one of these, whatever an operator configures.
_NEVER: Final = _table("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
# As a source only what cannot be answered is refused (RFC 7915 §4.1): link-local is the neighbour's.
_NO_SOURCE: Final = _table("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")
# The IANA registry's blocks that are not globally reachable (RFC 6890, which replaced RFC 5735).
_NOT_GLOBAL: Final = _table(
    "10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
)  # fmt: skip


class Prefix:
    """A translation prefix. Raises ValueError for a length other than 32, 40, 48, 56, 64, 96, or when bits 64 to 71
    of a /96 are not zero."""

    __slots__ = ("_head", "_positions", "is_well_known", "network")

    def __init__(self, network: IPv6Network) -> None:
        positions = _POSITIONS.get(network.prefixlen)
        if positions is None:
            raise ValueError(f"{network} is no translation prefix; its length must be 32, 40, 48, 56, 64 or 96")
        packed = network.network_address.packed
        if packed[8]:
            raise ValueError(f"{network} has bits 64 to 71 set, which must be zero (RFC 6052 §2.2)")
        self.network = network
        self.is_well_known = network == WELL_KNOWN
        self._positions = positions
        self._head = packed[: network.prefixlen // 8]

    def embed(self, v4: bytes) -> bytes:
        """The IPv6 address (16 bytes) for an IPv4 address (4 bytes), with a zero suffix."""
        if len(self._head) == 12:
            return self._head + v4
        address = bytearray(16)
        address[: len(self._head)] = self._head
        for position, octet in zip(self._positions, v4, strict=True):
            address[position] = octet
        return bytes(address)

    def extract(self, v6: bytes) -> bytes | None:
        """The IPv4 address in an IPv6 address, whose u bits and suffix do not matter; None outside of the prefix."""
        if not v6.startswith(self._head):
            return None
        if len(self._head) == 12:
            return v6[12:]
        a, b, c, d = self._positions
        return bytes((v6[a], v6[b], v6[c], v6[d]))

    def allows(self, v4: bytes, allow_private: bool) -> bool:
        """Whether packets may go to this IPv4 address. Behind the well-known prefix only globally reachable ones may
        be represented (RFC 6052 §3.1), unless the operator says `allow_private`."""
        return not _NEVER.get(v4, False) and self.represents(v4, allow_private)

    def represents(self, v4: bytes, allow_private: bool) -> bool:
        """Whether the prefix may stand before this IPv4 address, wherever it is in a packet (RFC 6052 §3.1)."""
        return allow_private or not self.is_well_known or not _NOT_GLOBAL.get(v4, False)

    def __repr__(self) -> str:
        return f"Prefix({str(self.network)!r})"


def valid_source_v4(source: bytes) -> bool:
    """Whether a packet from this IPv4 source is translated (RFC 7915 §4.1). The outer source of an ICMP error is
    translated whatever it is."""
    return not _NO_SOURCE.get(source, False)


def valid_source_v6(source: bytes, *prefixes: Prefix) -> bool:
    """Whether a packet from this IPv6 source is translated: unicast, of more than one link, and in none of our
    `prefixes`, which would be a hairpin loop (RFC 6146 §3.5)."""
    if is_unspecified(source) or is_loopback(source) or is_multicast(source) or is_link_local(source):
        return False
    return all(prefix.extract(source) is None for prefix in prefixes)
