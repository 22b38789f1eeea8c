"""ICMP errors from one family to the other, and those that the translator itself sends (RFC 7915 §4.2, §5.2)."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from vpnrs_core.packet import icmp as core
from vpnrs_core.packet.checksum import checksum, finish, ones_sum, pseudo_sum, verifies
from vpnrs_core.packet.header import ICMP, ICMPV6, VNET_LENGTH
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_nat64.translate.embedded import Inner, embedded_to_v4, embedded_to_v6
from vpnrs_nat64.translate.headers import DF, MAX_WITHOUT_DF, check_v4, v4_header, v6_header
from vpnrs_nat64.translate.icmp_tables import error_v4_to_v6, error_v6_to_v4
from vpnrs_nat64.translate.problem import MALFORMED, Error, Problem
from vpnrs_nat64.translate.tuples import Kind, Tuple, inspect, kind
from vpnrs_nat64.translate.walk import Walk, walk_v6

_HEAD = Struct("!BBHI")
# RFC 4884 §4: the types with a length attribute, its place in the second word (shift), its unit in bytes.
_EXTENDED = {4: (frozenset({3, 11, 12}), 16, 4), 6: (frozenset({1, 3}), 24, 8)}
_MIN_DATAGRAM = 128
_MAX_BODY = {4: core.MAX_ICMP_ERROR - 28, 6: core.MAX_ICMPV6_ERROR - 48}

__all__ = ["answer", "error_to_v4", "error_to_v6"]


class _Message(NamedTuple):
    """An ICMP error taken apart. `datagram` is what it quotes, `extension` RFC 4884's structure, or empty."""

    type: int
    code: int
    rest: int
    datagram: bytes
    extension: bytes
    tos: int
    ttl: int


def answer(packet: Packet, error: Error, source: bytes) -> Packet | None:
    """The ICMP error for a packet, from our own address `source` (packed, of the packet's family) back to the
    packet's source. None: none may be sent (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)). How often is the caller's matter."""
    return core.error(packet, error.type, error.code, error.rest, source)


def error_to_v6(
    packet: Packet, mapping: Tuple, source: bytes | None = None, *, mtu4: int, mtu6: int, hop: int = 1
) -> Packet | Problem:
    """The ICMPv6 error for the ICMP error `packet`.

    `mapping` is the IPv6 tuple of what `embedded_tuple(packet)` found: it runs in the error's own direction, to the
    client. `source` is the error's new source, for routers usually their address behind the prefix; None: mapping's.
    `mtu4` and `mtu6` are the MTUs of the next hops, bytes; `mtu6` is that of the client's tunnel."""
    inner = Inner(mapping.dst, mapping.src, mapping.dport, mapping.sport, mapping.dport)
    return convert_to_v6(packet, mapping.src if source is None else source, mapping.dst, inner, mtu4, mtu6, hop)


def error_to_v4(
    packet: Packet, mapping: Tuple, source: bytes | None = None, *, mtu4: int, mtu6: int, ident: int = 0, hop: int = 1
) -> Packet | Problem:
    """The ICMP error for the ICMPv6 error `packet`, as `error_to_v6`. `mapping` is the IPv4 tuple, from our own
    address to the IPv4 host; `source` None: from our own address, as a NAT has to (RFC 5508 R5). `ident` is the
    IPv4 identification."""
    inner = Inner(mapping.dst, mapping.src, mapping.dport, mapping.sport, mapping.sport)
    return convert_to_v4(packet, mapping.src if source is None else source, mapping.dst, inner, mtu4, mtu6, ident, hop)


def convert_to_v6(
    packet: Packet, source: bytes, destination: bytes, inner: Inner, mtu4: int, mtu6: int, hop: int = 1
) -> Packet | Problem:
    """`error_to_v6` with the outer addresses and the embedded packet's given apart."""
    message = _open(packet, 4, hop)
    if isinstance(message, Problem):
        return message
    total = int.from_bytes(message.datagram[2:4], "big")
    error = error_v4_to_v6(message.type, message.code, message.rest, total, mtu4, mtu6)
    if error is None:
        return Problem("icmp_type")
    datagram = embedded_to_v6(message.datagram, inner)
    if isinstance(datagram, Problem):
        return datagram
    rest, body = _body(error, datagram, message.extension, 6)
    size = 8 + len(body)
    head = _HEAD.pack(error.type, error.code, 0, rest)
    check = finish(pseudo_sum(source, destination, ICMPV6, size) + ones_sum(head) + ones_sum(body))
    outer = v6_header(message.tos, size, ICMPV6, message.ttl - hop, source, destination, Walk(ICMPV6, 40))
    return Packet.of(outer + head[:2] + check.to_bytes(2, "big") + head[4:] + body, packet.session)


def convert_to_v4(
    packet: Packet, source: bytes, destination: bytes, inner: Inner, mtu4: int, mtu6: int, ident: int = 0, hop: int = 1
) -> Packet | Problem:
    """`error_to_v4` with the outer addresses and the embedded packet's given apart."""
    message = _open(packet, 6, hop)
    if isinstance(message, Problem):
        return message
    error = error_v6_to_v4(message.type, message.code, message.rest, _fragmented(message.datagram), mtu4, mtu6)
    if error is None:
        return Problem("icmp_type")
    datagram = embedded_to_v4(message.datagram, inner)
    if isinstance(datagram, Problem):
        return datagram
    rest, body = _body(error, datagram, message.extension, 4)
    head = _HEAD.pack(error.type, error.code, 0, rest)
    check = checksum(head + body)
    total = 28 + len(body)
    field = 0 if total <= MAX_WITHOUT_DF else DF
    outer = v4_header(message.tos, total, ident, field, message.ttl - hop, ICMP, source, destination)
    return Packet.of(outer + head[:2] + check.to_bytes(2, "big") + head[4:] + body, packet.session)


def _open(packet: Packet, version: int, hop: int) -> _Message | Problem:
    """An ICMP error of IP `version`, whole and with a right checksum (RFC 5508 R3)."""
    found = inspect(packet)
    if isinstance(found, Problem):
        return found
    header, walk = found
    if header.version != version or kind(packet) is not Kind.ICMP_ERROR:
        return Problem("fragment") if kind(packet) is Kind.FRAGMENT else MALFORMED
    data = packet.data if packet.frame.startswith(bytes(VNET_LENGTH)) else segment(packet)[0]
    if version == 4:
        problem = check_v4(data[: walk.l4])
        if problem:
            return problem
        tos, ttl, pseudo = data[1], data[8], 0
    else:
        tos, ttl = (data[0] << 8 | data[1]) >> 4 & 0xFF, data[7]
        pseudo = pseudo_sum(header.source, header.destination, ICMPV6, header.length - walk.l4)
    if ttl <= hop:
        return Problem("hop_limit")
    message = data[walk.l4 :]
    if not verifies(message, pseudo):
        return Problem("icmp_checksum")
    kind_, code, _, rest = _HEAD.unpack_from(message)
    datagram, extension = _apart(message[8:], kind_, rest, version)
    return _Message(kind_, code, rest, datagram, extension, tos, ttl)


def _apart(body: bytes, kind: int, rest: int, version: int) -> tuple[bytes, bytes]:
    """→ the original datagram and the extension structure (RFC 4884 §4). A length that leaves no room for an
    extension header says nothing; one below 128 is taken as it is, for there are routers that send it."""
    types, shift, unit = _EXTENDED[version]
    length = (rest >> shift & 0xFF) * unit if kind in types else 0
    if not length or length + 4 > len(body):
        return body, b""
    return body[:length], body[length:]


def _body(error: Error, datagram: bytes, extension: bytes, version: int) -> tuple[int, bytes]:
    """→ the second word and what follows it, within the family's limit for errors. The first 128 bytes of the
    datagram come before the extension, that before the rest of the datagram; an extension is never cut."""
    types, shift, unit = _EXTENDED[version]
    room = _MAX_BODY[version] - len(extension)
    if not extension or error.type not in types or room < _MIN_DATAGRAM:
        return error.rest, datagram[: _MAX_BODY[version]]
    size = max(_MIN_DATAGRAM, -(-len(datagram) // unit) * unit)
    size = min(size, room // unit * unit)
    return error.rest | size // unit << shift, datagram[:size].ljust(size, b"\0") + extension


def _fragmented(datagram: bytes) -> bool:
    if len(datagram) < 40:
        return False
    walk = walk_v6(datagram, 0)
    return isinstance(walk, Walk) and walk.fragment > 0
