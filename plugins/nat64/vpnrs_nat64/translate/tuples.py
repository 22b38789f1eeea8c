"""What a packet is to NAT64, and the tuple by which its session is found."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from vpnrs_core.packet.header import ICMP, ICMPV6, TCP, UDP, VNET_LENGTH, BadPacket, Header
from vpnrs_core.packet.packet import Packet
from vpnrs_nat64.translate.problem import MALFORMED, Problem
from vpnrs_nat64.translate.walk import Walk, walk_v6

ECHO_TYPES = {4: (8, 0), 6: (128, 129)}
# Destination unreachable, source quench, redirect, time exceeded, parameter problem (RFC 1122 §3.2.2).
V4_ERRORS = frozenset({3, 4, 5, 11, 12})


class Kind(Enum):
    """How a packet is to be treated. OTHER: a transport that stateful translation does not know. UNTRANSLATABLE: see
    `fault`."""

    TCP = auto()
    UDP = auto()
    ECHO = auto()
    ICMP_ERROR = auto()
    OTHER = auto()
    FRAGMENT = auto()
    UNTRANSLATABLE = auto()


class Tuple(NamedTuple):
    """Packed addresses, and ports; for an ICMP echo both ports are its identifier. `protocol` is the packet's own
    number: 1 for ICMP, 58 for ICMPv6."""

    protocol: int
    src: bytes
    dst: bytes
    sport: int
    dport: int

    def swapped(self) -> Tuple:
        """The tuple of the answers."""
        return Tuple(self.protocol, self.dst, self.src, self.dport, self.sport)


def inspect(packet: Packet) -> tuple[Header, Walk] | Problem:
    """The packet's headers, with the transport as translation sees it. For IPv4 the walk's `ident` is its 16 bits,
    and `fragment` is 0."""
    try:
        header = packet.header
    except BadPacket:
        return MALFORMED
    if header.version == 6:
        found = walk_v6(packet.frame, VNET_LENGTH)
        return found if isinstance(found, Problem) else (header, found)
    frame = packet.frame
    ident = frame[VNET_LENGTH + 4] << 8 | frame[VNET_LENGTH + 5]
    offset, more = header.fragment_offset, header.more_fragments
    return header, Walk(header.protocol, header.l4_offset, 0, offset, more, ident)


def kind(packet: Packet) -> Kind:
    """A fragment is FRAGMENT whatever is in it; an atomic one (RFC 6946) is what is in it."""
    found = inspect(packet)
    if isinstance(found, Problem):
        return Kind.UNTRANSLATABLE
    header, walk = found
    if walk.offset or walk.more:
        return Kind.FRAGMENT
    if walk.protocol == TCP:
        return Kind.TCP
    if walk.protocol == UDP:
        return Kind.UDP
    if walk.protocol == (ICMP if header.version == 4 else ICMPV6):
        return _icmp_kind(header.version, packet.frame[VNET_LENGTH + walk.l4])
    return Kind.UNTRANSLATABLE if walk.protocol in (ICMP, ICMPV6) else Kind.OTHER


def fault(packet: Packet) -> Problem:
    """Why a packet is UNTRANSLATABLE, with the error to send; of a FRAGMENT, that it is one."""
    found = inspect(packet)
    if isinstance(found, Problem):
        return found
    return Problem("fragment" if found[1].offset or found[1].more else "icmp_type")


def tuple_of(packet: Packet) -> Tuple | None:
    """The tuple of a TCP, UDP or echo packet or of its first fragment; None for everything else."""
    found = inspect(packet)
    if isinstance(found, Problem) or found[1].offset:
        return None
    header, walk = found
    return _tuple(packet.frame, VNET_LENGTH + walk.l4, header.version, walk.protocol, header.source, header.destination)


def embedded_tuple(packet: Packet) -> Tuple | None:
    """The tuple by which the session of an ICMP error is found: the embedded packet's with source and destination
    swapped, so that it reads as if the error's sender had answered that packet (RFC 6146 §3.5.1, RFC 5508 R4).

    None: not an ICMP error, the embedded packet is no TCP, UDP or echo, or it does not show its ports."""
    found = inspect(packet)
    if isinstance(found, Problem) or kind(packet) is not Kind.ICMP_ERROR:
        return None
    data = packet.frame[VNET_LENGTH + found[1].l4 + 8 :]
    return embedded_in(data, found[0].version)


def embedded_in(data: bytes, version: int) -> Tuple | None:
    """The swapped tuple of the packet that `data` starts with."""
    if version == 4:
        if len(data) < 20 or data[0] >> 4 != 4 or data[0] & 15 < 5:
            return None
        if int.from_bytes(data[6:8], "big") & 0x1FFF:
            return None
        found = _tuple(data, (data[0] & 15) * 4, 4, data[9], data[12:16], data[16:20])
    else:
        if len(data) < 40 or data[0] >> 4 != 6:
            return None
        walk = walk_v6(data, 0)
        if isinstance(walk, Problem) or walk.offset:
            return None
        found = _tuple(data, walk.l4, 6, walk.protocol, data[8:24], data[24:40])
    return found.swapped() if found else None


def _icmp_kind(version: int, kind: int) -> Kind:
    if kind in ECHO_TYPES[version]:
        return Kind.ECHO
    if kind in V4_ERRORS if version == 4 else kind < 128:
        return Kind.ICMP_ERROR
    return Kind.UNTRANSLATABLE


def _tuple(data: bytes, l4: int, version: int, protocol: int, src: bytes, dst: bytes) -> Tuple | None:
    """None also when the ports are cut off."""
    if protocol in (TCP, UDP):
        if l4 + 4 > len(data):
            return None
        return Tuple(protocol, src, dst, data[l4] << 8 | data[l4 + 1], data[l4 + 2] << 8 | data[l4 + 3])
    if protocol != (ICMP if version == 4 else ICMPV6) or l4 + 8 > len(data) or data[l4] not in ECHO_TYPES[version]:
        return None
    ident = data[l4 + 4] << 8 | data[l4 + 5]
    return Tuple(protocol, src, dst, ident, ident)
