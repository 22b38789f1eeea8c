"""The 10-byte virtio-net header that a TUN with IFF_VNET_HDR puts before each packet (linux/virtio_net.h).

All fields are little-endian: the TUN is set to that (TUNSETVNETLE), and the wire uses it on every machine.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

VNET = Struct("<BBHHHH")
VNET_LENGTH = VNET.size
PLAIN_VNET = bytes(VNET_LENGTH)

NEEDS_CSUM = 1

GSO_NONE = 0
GSO_TCPV4 = 1
GSO_TCPV6 = 4
GSO_UDP_L4 = 5
GSO_ECN = 0x80

# The kernel refuses UDP super-packets of more segments (UDP_MAX_SEGMENTS), the `segments` codec's index TCP's.
MAX_TCP_SEGMENTS = 256
MAX_UDP_SEGMENTS = 128

CSUM_OFFSET = {6: 16, 17: 6}


class Vnet(NamedTuple):
    """`hdr_len`, `gso_size`, `csum_start`, `csum_offset` in bytes; `csum_start` counts from the IP header,
    `csum_offset` from there to the checksum field."""

    flags: int = 0
    gso_type: int = GSO_NONE
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def pack(self) -> bytes:
        return VNET.pack(*self)


def unpack(frame: bytes) -> Vnet:
    """The vnet header at the start of a frame of at least 10 bytes."""
    return Vnet(*VNET.unpack_from(frame))


def normalise(frame: bytes, header_length: int) -> bytes:
    """The frame with only NEEDS_CSUM left of its flags and hdr_len set to the length that our own walk found: the
    kernel's is a hint that may cover payload, and its other flags say nothing to anyone but it."""
    flags, gso_type, _, gso_size, start, offset = VNET.unpack_from(frame)
    flags &= NEEDS_CSUM
    hdr_len = header_length if flags or gso_type else 0
    if not flags:
        start = offset = 0
    vnet = VNET.pack(flags, gso_type, hdr_len, gso_size, start, offset)
    return frame if frame.startswith(vnet) else vnet + frame[VNET_LENGTH:]
