"""What qh3 builds as the driver takes it, and addresses as qh3 takes them. Pure."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

from vpnrs_core.interfaces.engine import SocketAddress

_data, _address = itemgetter(0), itemgetter(1)


def by_address(packets: list[Any]) -> list[tuple[list[bytes], SocketAddress]]:
    """What qh3 built, tuples of packet, address and more, as the driver takes it. Nearly always for one address."""
    if not packets:
        return []
    address = packets[0][1]
    if list(map(_address, packets)).count(address) == len(packets):
        return [(list(map(_data, packets)), address)]
    return [(list(map(_data, run)), address) for address, run in groupby(packets, _address)]


def plain(address: SocketAddress) -> SocketAddress:
    """Without the interface's name, which qh3 does not take: the scope is the fourth number."""
    host = address[0]
    return (host.partition("%")[0], *address[1:]) if "%" in host else address
