"""From "host:port" to the addresses to bind or to dial."""

from __future__ import annotations

import asyncio
import socket

from vpnrs_core.errors import ConfigError, HostError
from vpnrs_core.interfaces.engine import SocketAddress

_FORM = 'Write "host:port", "192.0.2.1:4433" or "[2001:db8::1]:4433".'


def split_where(where: str) -> tuple[str, int]:
    """Host (a name or an address, without brackets) and port. Raises ConfigError."""
    host, separator, port = where.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"{where!r}: an IPv6 address needs brackets. {_FORM}")
    if not separator or not host or not port.isascii() or not port.isdigit():
        raise ConfigError(f"{where!r} is not an address with a port. {_FORM}")
    if int(port) > 65535:
        raise ConfigError(f"{where!r}: port {port} is larger than 65535. {_FORM}")
    return host, int(port)


async def resolve(where: str) -> list[tuple[socket.AddressFamily, SocketAddress]]:
    """Every UDP address that `where` stands for, in the system's order of preference. Raises ConfigError, HostError."""
    host, port = split_where(where)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise HostError(
            f"{where}: the name {host} cannot be resolved: {reason}. Check it, and this host's DNS."
        ) from None
    addresses: list[tuple[socket.AddressFamily, SocketAddress]] = []
    for family, _, _, _, address in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            entry = (family, (str(address[0]), int(address[1]), *map(int, address[2:])))
            if entry not in addresses:
                addresses.append(entry)  # type: ignore[arg-type]
    return addresses
