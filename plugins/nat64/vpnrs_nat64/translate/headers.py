"""One packet from one family to the other: IP header, fragment header, transport header, vnet header (RFC 7915 §4, §5).

Super-packets are translated whole. Whether the result fits the other side's MTU is `mtu`'s to say.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from vpnrs_core.packet.checksum import checksum, ones_sum
from vpnrs_core.packet.header import FRAGMENT, ICMP, ICMPV6, UDP, VNET_LENGTH, BadPacket
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.packet.vnet import CSUM_OFFSET, GSO_ECN, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, PLAIN_VNET, VNET
from vpnrs_nat64.translate.l4 import HEAD, Change, compute_udp, convert
from vpnrs_nat64.translate.problem import MALFORMED, V4_UNREACHABLE, Error, Problem, hop_limit
from vpnrs_nat64.translate.tuples import inspect
from vpnrs_nat64.translate.walk import Walk

V4: Final = Struct("!BBHHHBBH4s4s")
V6: Final = Struct("!IHBB16s16s")
_FRAGMENT: Final = Struct("!BBHI")

# A translated packet of this size came from IPv6's minimum MTU; a smaller one may meet a link that must fragment it.
MAX_WITHOUT_DF: Final = 1260
DF, MF = 0x4000, 0x2000

_LOOSE_ROUTE, _STRICT_ROUTE = 131, 137


def to_v4(
    packet: Packet, src4: bytes, dst4: bytes, sport: int | None = None, dport: int | None = None, ident: int = 0,
    *, tos: int | None = None, hop: int = 1, shared: bool = False,
) -> Packet | Problem:  # fmt: skip
    """The IPv6 `packet` in IPv4, from `src4` to `dst4`.

    Ports that are None stay; an echo's identifier becomes `sport`. `ident` is the IPv4 identification when no
    fragment header brings one; a super-packet uses one a segment. `tos` replaces the traffic class. `hop` is what
    the hop limit loses: 0 for the second pass of a hairpin. `shared`: other senders have `src4` too, so what a whole
    packet's fragment header says must not be its identification (RFC 6864 §5.3)."""
    found = inspect(packet)
    if isinstance(found, Problem):
        return found
    header, walk = found
    if header.version != 6:
        return MALFORMED
    frame = packet.frame
    first, limit = frame[VNET_LENGTH] << 8 | frame[VNET_LENGTH + 1], frame[VNET_LENGTH + 7]
    if limit <= hop:
        return hop_limit(6)
    total = header.length - walk.l4 + 20
    if total > 0xFFFF:
        return Problem("too_long")
    change = Change(header.source + header.destination, src4 + dst4, sport, dport, sport, total - 20)
    moved = _transport(packet, walk, change, 4)
    if isinstance(moved, Problem):
        return moved
    vnet, l4, rest = moved
    if walk.fragment:
        field = walk.offset >> 3 | (MF if walk.more else 0)
        if field or not shared:
            ident = walk.ident & 0xFFFF
    else:
        field = 0 if packet.largest_segment - walk.l4 + 20 <= MAX_WITHOUT_DF else DF
    if tos is None:
        tos = first >> 4 & 0xFF
    protocol = ICMP if walk.protocol == ICMPV6 else walk.protocol
    head = v4_header(tos, total, ident, field, limit - hop, protocol, src4, dst4)
    return Packet(b"".join((vnet, head, l4, rest)), packet.session)


def to_v6(
    packet: Packet, src6: bytes, dst6: bytes, sport: int | None = None, dport: int | None = None,
    *, tos: int | None = None, hop: int = 1,
) -> Packet | Problem:  # fmt: skip
    """The IPv4 `packet` in IPv6, from `src6` to `dst6`; as `to_v4`, but an echo's identifier becomes `dport`.

    A UDP checksum that is missing is computed, for which the packet must be whole (RFC 6146 §3.4)."""
    found = inspect(packet)
    if isinstance(found, Problem):
        return found
    header, walk = found
    if header.version != 4:
        return MALFORMED
    frame = packet.frame
    problem = check_v4(frame[VNET_LENGTH : VNET_LENGTH + walk.l4])
    if problem:
        return problem
    limit = frame[VNET_LENGTH + 8]
    if limit <= hop:
        return hop_limit(4)
    size = header.length - walk.l4
    change = Change(header.source + header.destination, src6 + dst6, sport, dport, dport, size)
    moved = _transport(packet, walk, change, 6)
    if isinstance(moved, Problem):
        return moved
    vnet, l4, rest = moved
    if tos is None:
        tos = frame[VNET_LENGTH + 1]
    protocol = ICMPV6 if walk.protocol == ICMP else walk.protocol
    head = v6_header(tos, size, protocol, limit - hop, src6, dst6, walk)
    return Packet(b"".join((vnet, head, l4, rest)), packet.session)


def v4_header(tos: int, total: int, ident: int, field: int, ttl: int, protocol: int, src: bytes, dst: bytes) -> bytes:
    """An IPv4 header without options. `field`: flags and fragment offset."""
    head = V4.pack(0x45, tos, total, ident, field, ttl, protocol, 0, src, dst)
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:]


def v6_header(tos: int, size: int, protocol: int, limit: int, src: bytes, dst: bytes, walk: Walk) -> bytes:
    """An IPv6 header before `size` bytes of upper layer; with a fragment header if `walk` is an IPv4 fragment's."""
    if not walk.offset and not walk.more:
        return V6.pack(0x60000000 | tos << 20, size, protocol, limit, src, dst)
    head = V6.pack(0x60000000 | tos << 20, size + 8, FRAGMENT, limit, src, dst)
    return head + _FRAGMENT.pack(protocol, 0, walk.offset | walk.more, walk.ident)


def check_v4(head: bytes) -> Problem | None:
    """What forbids the translation of an IPv4 packet with this header: its checksum, a source route that has not
    ended (RFC 7915 §4.1). Other options are ignored."""
    if ones_sum(head):
        return Problem("ipv4_checksum")
    at = 20
    while at + 1 < len(head) and head[at]:
        if head[at] == 1:
            at += 1
            continue
        size = head[at + 1]
        if size < 2 or at + size > len(head):
            return None  # what cannot be parsed is padding, as for every router on the way
        if head[at] in (_LOOSE_ROUTE, _STRICT_ROUTE) and size > 2 and head[at + 2] <= size:
            return Problem("source_route", Error(V4_UNREACHABLE, 5))
        at += size
    return None


def _transport(packet: Packet, walk: Walk, change: Change, version: int) -> tuple[bytes, bytearray, bytes] | Problem:
    """→ vnet header, start of the transport header, everything behind it; all as they are in the other family."""
    header, frame = packet.header, packet.frame
    vnet, partial = PLAIN_VNET, False
    if not frame.startswith(PLAIN_VNET):
        flags, gso_type, _, gso_size, start, offset = VNET.unpack_from(frame)
        ours = start == walk.l4 == header.l4_offset and CSUM_OFFSET.get(walk.protocol) == offset
        ours = ours and not (walk.fragment or header.is_fragment)
        if ours and flags & NEEDS_CSUM:
            partial = True
            moved = (40 if version == 6 else 20) - walk.l4
            if gso_type & ~GSO_ECN in (GSO_TCPV4, GSO_TCPV6):
                gso_type = gso_type & GSO_ECN | (GSO_TCPV4 if version == 4 else GSO_TCPV6)
            vnet = VNET.pack(flags, gso_type, header.header_length + moved, gso_size, start + moved, offset)
        elif gso_type:
            return MALFORMED
        else:
            # An inner checksum, of a tunnel in this packet: nothing here knows how its fields move.
            frame = PLAIN_VNET + segment(packet)[0]
            try:
                _ = Packet(frame).header
            except BadPacket:  # it was told to be where a length is
                return MALFORMED
    at = VNET_LENGTH + walk.l4
    fragment = walk.offset or walk.more
    if walk.protocol in (ICMP, ICMPV6) and (fragment or walk.protocol != (ICMPV6 if version == 4 else ICMP)):
        # An ICMPv6 checksum covers the length of the whole message, which no fragment knows (RFC 7915 §1.2).
        return Problem("fragment" if fragment else "icmp_type")
    if walk.offset:
        return vnet, bytearray(), frame[at:]
    l4, rest = bytearray(frame[at : at + HEAD]), frame[at + HEAD :]
    if walk.protocol in CSUM_OFFSET and len(l4) < CSUM_OFFSET[walk.protocol] + 2:
        return Problem("fragment")
    missing = walk.protocol == UDP and not partial and not any(l4[6:8])
    if missing and (fragment or version == 4):
        return Problem("udp_checksum")
    if not convert(l4, walk.protocol, change, version, partial):
        return Problem("icmp_type")
    if missing:
        compute_udp(change.becomes[:16], change.becomes[16:], l4, rest)
    return vnet, l4, rest


def split_for_growth(packet: Packet) -> list[Packet]:
    """A super-packet as such ones that both families can hold: 65,535 bytes with an IPv6 header. Others as they are.

    IPv6 leaves its own header out of its length and IPv4 does not, so both directions have to look."""
    header = packet.header
    room = 0xFFFF - 40 - (header.header_length - header.l4_offset)
    if not packet.gso_size or header.payload_length <= room:
        return [packet]
    return packet.split(max(1, room // packet.gso_size))
