"""Part of a super-packet as a packet of its own: which fields change, and how (docs/wire.md, Mend).

The same function serves slices, splits and runs of segments that arrived incomplete.
"""

from __future__ import annotations

from vpnrs_core.packet.checksum import checksum
from vpnrs_core.packet.header import TCP, Header
from vpnrs_core.packet.vnet import GSO_ECN, VNET, VNET_LENGTH

FIN, PSH, CWR = 0x01, 0x08, 0x80


def slice_frame(frame: bytes, header: Header, first: int, count: int) -> bytes:
    """The frame of `count` segments from the `first` on. `frame` is a sound super-packet's; the caller has checked
    the bounds."""
    size = frame[4] | frame[5] << 8
    cut = VNET_LENGTH + header.header_length
    payload = frame[cut + first * size : cut + (first + count) * size]
    last = cut + (first + count) * size >= len(frame)
    return mend(frame[:cut], header, first, len(payload), last) + payload


def mend(head: bytes, header: Header, first: int, payload: int, last: bool) -> bytes:
    """The vnet, IP and L4 headers of a run of segments, from those of the whole super-packet.

    `head`: the super-packet's own, `header` what `examine` found in it; `first` is the run's first index, `payload`
    its payload in bytes; `last`: the super-packet's last segment is in it."""
    new = bytearray(head)
    flags, gso_type, hdr_len, gso_size, start, offset = VNET.unpack_from(head)
    if first:
        gso_type &= ~GSO_ECN
    l4 = VNET_LENGTH + header.l4_offset
    if header.protocol == TCP:
        sequence = int.from_bytes(head[l4 + 4 : l4 + 8], "big") + first * gso_size
        new[l4 + 4 : l4 + 8] = (sequence & 0xFFFFFFFF).to_bytes(4, "big")
        if not last:
            new[l4 + 13] &= ~(FIN | PSH)
        if first:
            new[l4 + 13] &= ~CWR
    else:
        new[l4 + 4 : l4 + 6] = (payload + 8).to_bytes(2, "big")
    _mend_ip(new, header, first, header.header_length + payload)
    # The partial checksum holds the pseudo-header's sum. It changes by the lengths' difference and is not built anew
    # from the addresses: with a routing header those are not the ones it covers.
    field = VNET_LENGTH + start + offset
    partial = int.from_bytes(head[field : field + 2], "big") + payload - header.payload_length
    new[field : field + 2] = (partial % 65535).to_bytes(2, "big")
    if payload <= gso_size:
        gso_type = gso_size = 0
    VNET.pack_into(new, 0, flags, gso_type, hdr_len, gso_size, start, offset)
    return bytes(new)


def _mend_ip(new: bytearray, header: Header, first: int, length: int) -> None:
    """Length, identification and header checksum of the IP header in `new`."""
    ip = VNET_LENGTH
    if header.version == 6:
        new[ip + 4 : ip + 6] = (length - 40).to_bytes(2, "big")
        return
    # The kernel raises the identification by one a segment, DF or not.
    identification = int.from_bytes(new[ip + 4 : ip + 6], "big") + first
    new[ip + 2 : ip + 4] = length.to_bytes(2, "big")
    new[ip + 4 : ip + 6] = (identification & 0xFFFF).to_bytes(2, "big")
    new[ip + 10 : ip + 12] = b"\0\0"
    new[ip + 10 : ip + 12] = checksum(new[ip : ip + header.l4_offset]).to_bytes(2, "big")
