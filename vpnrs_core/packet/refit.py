"""TCP packets made to fit a smaller path: the same bytes in more segments (docs/wire.md, What no longer fits)."""

from __future__ import annotations

from vpnrs_core.packet.header import TCP
from vpnrs_core.packet.mend import CWR, FIN, PSH
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.vnet import CSUM_OFFSET, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, VNET, VNET_LENGTH

_ACK, _ECE = 0x10, 0x40
# What a segment may say without losing its meaning when it becomes two.
_DIVISIBLE = FIN | PSH | CWR | _ACK | _ECE


def refit(packet: Packet, mtu: int) -> Packet | None:
    """The packet with segments of at most `mtu` bytes, headers included.

    None: not TCP, or its checksum is finished (somebody else's single packet, which routers do not cut), or it cannot
    be divided, or `mtu` leaves no room for payload."""
    frame, header = packet.frame, packet.header
    size = mtu - header.header_length
    flags, gso_type, hdr_len, _, start, offset = VNET.unpack_from(frame)
    if header.protocol != TCP or size < 1 or header.is_fragment or header.fragment_header:
        return None
    if not flags & NEEDS_CSUM or start != header.l4_offset or offset != CSUM_OFFSET[TCP]:
        return None
    if frame[VNET_LENGTH + header.l4_offset + 13] & ~_DIVISIBLE:
        return None
    if packet.largest_segment <= mtu:
        return packet
    gso_type = gso_type or (GSO_TCPV4 if header.version == 4 else GSO_TCPV6)
    return Packet(VNET.pack(flags, gso_type, hdr_len, size, start, offset) + frame[VNET_LENGTH:], packet.session)
