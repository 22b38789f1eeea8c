"""Stateless translation (RFC 7915): addresses one to one, no ports, nothing remembered; what a CLAT does.

Every transport passes, and fragments are translated as they come. ICMP fragments cannot be: whoever wants them puts a
`Fragments` before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from vpnrs_core.packet.header import VNET_LENGTH
from vpnrs_core.packet.packet import Packet
from vpnrs_nat64.translate.embedded import Inner
from vpnrs_nat64.translate.icmp import convert_to_v4, convert_to_v6
from vpnrs_nat64.translate.mtu import deliver_v4, deliver_v6
from vpnrs_nat64.translate.prefix import valid_source_v4, valid_source_v6
from vpnrs_nat64.translate.problem import Problem
from vpnrs_nat64.translate.tuples import Kind, inspect, kind

AddressMap = Callable[[bytes], bytes | None]
_ADDRESS = Problem("address")


class Side(Enum):
    """Where a packet comes from."""

    V4 = 4
    V6 = 6


@dataclass(frozen=True)
class Stateless:
    """`to_v4` and `to_v6` map packed addresses, None: not to be translated (`Eamt` has both). `mtu4` and `mtu6` are the
    sides' MTUs; `router4` and `router6`, packed, stand for ICMP errors' sources that have no mapping, None: such
    errors are dropped. `lowest`: see `deliver_v6`."""

    to_v4: AddressMap
    to_v6: AddressMap
    mtu4: int = 1500
    mtu6: int = 1500
    lowest: int | None = 1280
    router4: bytes | None = None
    router6: bytes | None = None


def stateless(side: Side, packet: Packet, settings: Stateless, ident: int = 0) -> list[Packet] | Problem:
    """The packet on the other side. `ident` is the IPv4 identification where the packet brings none."""
    found = inspect(packet)
    if isinstance(found, Problem):
        return found
    if found[0].version != side.value:
        return Problem("protocol")
    if kind(packet) is Kind.ICMP_ERROR:
        return _error(side, packet, settings, found[1].l4, ident)
    mapping = settings.to_v6 if side is Side.V4 else settings.to_v4
    valid = valid_source_v4 if side is Side.V4 else valid_source_v6
    source, destination = mapping(packet.src), mapping(packet.dst)
    if source is None or destination is None or not valid(packet.src):
        return _ADDRESS
    if side is Side.V4:
        return deliver_v6(packet, source, destination, mtu=settings.mtu6, lowest=settings.lowest)
    return deliver_v4(packet, source, destination, ident=ident, mtu=settings.mtu4)


def _error(side: Side, packet: Packet, settings: Stateless, l4: int, ident: int) -> list[Packet] | Problem:
    data = packet.frame[VNET_LENGTH + l4 + 8 :]
    if side is Side.V4:
        mapping, router, inner = settings.to_v6, settings.router6, (data[12:16], data[16:20])
    else:
        mapping, router, inner = settings.to_v4, settings.router4, (data[8:24], data[24:40])
    if len(inner[1]) != (4 if side is Side.V4 else 16):
        return Problem("icmp_inner")
    source, destination = mapping(packet.src) or router, mapping(packet.dst)
    src, dst = mapping(inner[0]), mapping(inner[1])
    if source is None or destination is None or src is None or dst is None:
        return _ADDRESS
    new: Packet | Problem
    if side is Side.V4:
        new = convert_to_v6(packet, source, destination, Inner(src, dst), settings.mtu4, settings.mtu6)
    else:
        new = convert_to_v4(packet, source, destination, Inner(src, dst), settings.mtu4, settings.mtu6, ident)
    return new if isinstance(new, Problem) else [new]
