"""How large UDP payloads may be towards an address. Pure."""

from __future__ import annotations

from dataclasses import replace

from vpnrs_core.interfaces.engine import QuicSettings, SocketAddress
from vpnrs_core.quic.udp import host_text

# What QUIC needs of every path (RFC 9000 section 14), and what IPv6 carries on every path (RFC 8200 section 5).
LEAST, LEAST_V6 = 1200, 1232
# Handshakes are padded to this at most: it passes wherever an IPv6 tunnel over IPv4 does.
HANDSHAKE = 1280
_ETHERNET_V6 = 1452


def ip_overhead(address: SocketAddress) -> int:
    """Bytes of IP and UDP header."""
    return 48 if ":" in host_text(address[0]) else 28


def largest(limit: int, address: SocketAddress) -> int:
    """`limit` is meant for IPv4; IPv6's header is 20 bytes longer, and takes them from the largest packets."""
    return limit if ip_overhead(address) == 28 or limit <= _ETHERNET_V6 else max(_ETHERNET_V6, limit - 20)


def small_handshake(address: SocketAddress) -> int:
    """For paths that do not carry the usual one."""
    return LEAST if ip_overhead(address) == 28 else LEAST_V6


def for_path(settings: QuicSettings, address: SocketAddress, handshake: int = HANDSHAKE) -> QuicSettings:
    """Settings for a connection with that address. A server answers a `handshake` of this many bytes with as many."""
    size = HANDSHAKE if handshake >= HANDSHAKE else LEAST_V6 if handshake >= LEAST_V6 else LEAST
    return replace(settings, max_udp_payload=largest(settings.max_udp_payload, address), handshake_udp_payload=size)
