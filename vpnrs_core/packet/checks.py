"""What must hold of a packet before any stage sees it, and the classes of addresses that routing tells apart."""

from __future__ import annotations

from vpnrs_core.packet.header import TCP, UDP, BadPacket, Header, examine
from vpnrs_core.packet.vnet import (
    CSUM_OFFSET,
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    MAX_UDP_SEGMENTS,
    NEEDS_CSUM,
    PLAIN_VNET,
    VNET,
    VNET_LENGTH,
)

# gso_type without its ECN bit: IP version, None for any; protocol.
_GSO_KIND = {GSO_TCPV4: (4, TCP), GSO_TCPV6: (6, TCP), GSO_UDP_L4: (None, UDP)}


def well_formed(frame: bytes) -> Header:
    """The header of a frame whose IP packet is sound and whose vnet header agrees with it. Raises BadPacket."""
    header = examine(frame)
    if frame.startswith(PLAIN_VNET):
        return header
    flags, gso_type, _, gso_size, start, offset = VNET.unpack_from(frame)
    # A lone packet's checksum may be an inner one (a tunnel in this tunnel), so only its bounds are known here.
    if flags & NEEDS_CSUM and (start < header.l4_offset or start + offset + 2 > header.length):
        raise BadPacket("checksum position outside the packet")
    if gso_type != GSO_NONE:
        check_super_packet(header, flags, gso_type, gso_size, start, offset)
        check_udp_length(frame, VNET_LENGTH, header)
    return header


def check_super_packet(header: Header, flags: int, gso_type: int, gso_size: int, start: int, offset: int) -> None:
    """The rules for a vnet header with a gso_type (docs/wire.md, Accept). Why so strict: whoever segments writes
    checksums where `start` and `offset` point; unchecked, they could point at the ports. Raises BadPacket."""
    kind = _GSO_KIND.get(gso_type & ~GSO_ECN)
    if kind is None:
        raise BadPacket("unknown gso_type")
    version, protocol = kind
    if protocol != header.protocol or version not in (None, header.version):
        raise BadPacket("gso_type disagrees with the packet")
    if gso_type & GSO_ECN and protocol != TCP:
        raise BadPacket("ECN bit without TCP")
    if header.is_fragment or header.fragment_header:
        raise BadPacket("super-packet is a fragment")
    check_partial_checksum(header, flags, start, offset)
    if gso_size < 1:
        raise BadPacket("gso_size is 0")
    payload = header.length - header.header_length
    if payload <= gso_size:
        raise BadPacket("super-packet of one segment")
    if protocol == UDP and payload > gso_size * MAX_UDP_SEGMENTS:
        raise BadPacket("too many UDP segments")


def check_udp_length(frame: bytes, start: int, header: Header) -> None:
    """A UDP super-packet's own length field covers all of its IP payload. `start` is where the IP header starts in
    `frame`. Raises BadPacket."""
    if header.protocol == UDP:
        at = start + header.l4_offset + 4
        if frame[at] << 8 | frame[at + 1] != header.length - header.l4_offset:
            raise BadPacket("UDP length disagrees")


def check_partial_checksum(header: Header, flags: int, start: int, offset: int) -> None:
    """NEEDS_CSUM is set and points at the TCP or UDP checksum of this very packet. Raises BadPacket."""
    if not flags & NEEDS_CSUM:
        raise BadPacket("super-packet without partial checksum")
    if start != header.l4_offset or CSUM_OFFSET.get(header.protocol) != offset or header.is_fragment:
        raise BadPacket("checksum position disagrees")


def is_multicast(address: bytes) -> bool:
    """224.0.0.0/4, ff00::/8."""
    return address[0] >> 4 == 14 if len(address) == 4 else address[0] == 0xFF


def is_link_local(address: bytes) -> bool:
    """169.254.0.0/16, fe80::/10."""
    if len(address) == 4:
        return address[0] == 169 and address[1] == 254
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def is_unspecified(address: bytes) -> bool:
    return not any(address)


def is_loopback(address: bytes) -> bool:
    """127.0.0.0/8, ::1."""
    return address[0] == 127 if len(address) == 4 else address == bytes(15) + b"\1"


def is_broadcast(address: bytes) -> bool:
    """The limited broadcast address; a subnet's own is known only to who knows the subnet."""
    return address == b"\xff\xff\xff\xff"
