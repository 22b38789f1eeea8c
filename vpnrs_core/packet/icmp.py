"""ICMP and ICMPv6 errors (RFC 792, 1191, 4443): Packet Too Big, unreachable, time exceeded; and when to send none."""

from __future__ import annotations

from enum import Enum

from vpnrs_core.packet.checks import is_broadcast, is_loopback, is_multicast, is_unspecified
from vpnrs_core.packet.checksum import checksum, finish, ones_sum, pseudo_sum
from vpnrs_core.packet.header import ICMP, ICMPV6, VNET_LENGTH, Header
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment

# RFC 1812 §4.3.2.3: as much of the packet as fits 576 bytes; RFC 4443 §2.4 (c): as fits the IPv6 minimum MTU.
MAX_ICMP_ERROR = 576
MAX_ICMPV6_ERROR = 1280

HOP_LIMIT = 64
# RFC 1812 §4.3.2.5: errors bear precedence "internetwork control".
_CONTROL_TOS = 0xC0

_V4_UNREACHABLE, _V4_TIME_EXCEEDED = 3, 11
_V6_UNREACHABLE, _V6_TOO_BIG, _V6_TIME_EXCEEDED = 1, 2, 3
_V4_FRAGMENTATION_NEEDED = 4
# Destination unreachable, source quench, redirect, time exceeded, parameter problem.
_V4_ERRORS = frozenset({3, 4, 5, 11, 12})
_V6_REDIRECT = 137


class Unreachable(Enum):
    """Why: (code of ICMP type 3, code of ICMPv6 type 1)."""

    NO_ROUTE = (0, 0)
    ADDRESS = (1, 3)
    PORT = (3, 4)
    PROHIBITED = (13, 1)


def packet_too_big(packet: Packet, mtu: int, source: bytes) -> Packet | None:
    """Packet Too Big, or for IPv4 "fragmentation needed and DF set" (RFC 1191), with the next hop's MTU in bytes.

    `source` is our packed address of the packet's family; None: no error may be sent for this packet. `Packet` has
    the session that `packet` came from. The same holds for the other errors here."""
    if packet.version == 4:
        return error(packet, _V4_UNREACHABLE, _V4_FRAGMENTATION_NEEDED, min(mtu, 0xFFFF), source)
    return error(packet, _V6_TOO_BIG, 0, mtu, source)


def unreachable(packet: Packet, code: Unreachable | int, source: bytes) -> Packet | None:
    """Destination unreachable. An int is the code of the packet's own family."""
    four = packet.version == 4
    if isinstance(code, Unreachable):
        code = code.value[0 if four else 1]
    return error(packet, _V4_UNREACHABLE if four else _V6_UNREACHABLE, code, 0, source)


def time_exceeded(packet: Packet, source: bytes) -> Packet | None:
    """Time exceeded in transit: the TTL or hop limit ran out."""
    return error(packet, _V4_TIME_EXCEEDED if packet.version == 4 else _V6_TIME_EXCEEDED, 0, 0, source)


def may_answer(packet: Packet, too_big: bool = False) -> bool:
    """Whether an ICMP error may be sent for the packet (RFC 1122 §3.2.2, RFC 1812 §4.3.2.7, RFC 4443 §2.4 (e)).

    `too_big`: the error is ICMPv6's Packet Too Big, which alone may answer multicast."""
    header = packet.header
    if header.fragment_offset or _is_error(packet.frame, header):
        return False
    source, destination = header.source, header.destination
    if is_unspecified(source) or is_multicast(source) or is_broadcast(source) or is_loopback(source):
        return False
    if is_unspecified(destination) or is_broadcast(destination):
        return False
    return (too_big and header.version == 6) or not is_multicast(destination)


def _is_error(frame: bytes, header: Header) -> bool:
    at = VNET_LENGTH + header.l4_offset
    if header.version == 4:
        return header.protocol == ICMP and frame[at : at + 1] != b"" and frame[at] in _V4_ERRORS
    if header.protocol != ICMPV6 or at >= len(frame):
        return False
    return frame[at] < 128 or frame[at] == _V6_REDIRECT


def error(packet: Packet, kind: int, code: int, rest: int, source: bytes) -> Packet | None:
    """Any error by type and code of the packet's own family; `rest` is the message's second 32-bit word."""
    header = packet.header
    if len(source) != len(header.source):
        raise ValueError("the error's source is of another family than the packet")
    if not may_answer(packet, too_big=header.version == 6 and kind == _V6_TOO_BIG):
        return None
    # What the sender's kernel looks at is a packet as it was on the wire: one segment, its checksum finished.
    quoted = segment(packet.slice(0, 1))[0]
    if header.version == 4:
        data = _v4(kind, code, rest, source, header.source, quoted)
    else:
        data = _v6(kind, code, rest, source, header.source, quoted)
    return Packet.of(data, packet.session)


def _v4(kind: int, code: int, rest: int, source: bytes, destination: bytes, quoted: bytes) -> bytes:
    quoted = quoted[: MAX_ICMP_ERROR - 28]
    head = bytes((kind, code, 0, 0)) + rest.to_bytes(4, "big")
    message = head[:2] + checksum(head + quoted).to_bytes(2, "big") + head[4:] + quoted
    ip = bytearray((0x45, _CONTROL_TOS, *(20 + len(message)).to_bytes(2, "big"), 0, 0, 0x40, 0, HOP_LIMIT, ICMP, 0, 0))
    ip += source + destination
    ip[10:12] = checksum(ip).to_bytes(2, "big")
    return bytes(ip) + message


def _v6(kind: int, code: int, rest: int, source: bytes, destination: bytes, quoted: bytes) -> bytes:
    quoted = quoted[: MAX_ICMPV6_ERROR - 48]
    head = bytes((kind, code, 0, 0)) + rest.to_bytes(4, "big")
    size = 8 + len(quoted)
    check = finish(pseudo_sum(source, destination, ICMPV6, size) + ones_sum(head + quoted))
    message = head[:2] + check.to_bytes(2, "big") + head[4:] + quoted
    return bytes((0x60, 0, 0, 0, *size.to_bytes(2, "big"), ICMPV6, HOP_LIMIT)) + source + destination + message
