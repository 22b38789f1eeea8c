"""Super-packets cut into payloads for the wire: an index, the super-packet's own headers, one segment's bytes.

    payload  index (1) │ vnet header (10) │ IP and L4 headers, unchanged │ the segment's payload

No header and no checksum is computed: all payloads of a super-packet differ in their index and their bytes only. The
other side puts them together again (join.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import repeat
from struct import Struct

from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.vnet import MAX_TCP_SEGMENTS, VNET_LENGTH, normalise

INDEX_LENGTH = 1
INDEXES = tuple(bytes((index,)) for index in range(MAX_TCP_SEGMENTS))


def payload_size(packet: Packet) -> int:
    """Bytes of the largest payload that `cut` makes of a super-packet."""
    return INDEX_LENGTH + VNET_LENGTH + packet.largest_segment


def split_evenly(packet: Packet) -> list[Packet]:
    """The packet as super-packets of at most 256 segments, of nearly the same size: a remainder of one segment would
    be no super-packet."""
    count = packet.segments
    if count <= MAX_TCP_SEGMENTS:
        return [packet]
    return packet.split(-(-count // -(-count // MAX_TCP_SEGMENTS)))


def cut(packet: Packet, front: bytes = b"") -> list[bytes]:
    """A super-packet's payloads, one a segment, in order, each behind the bytes `front`. Raises BadPacket for a
    malformed packet."""
    if packet.segments > MAX_TCP_SEGMENTS:
        return [payload for part in split_evenly(packet) for payload in cut(part, front)]
    frame, header, size = packet.frame, packet.header, packet.gso_size
    start = VNET_LENGTH + header.header_length
    head = normalise(frame[:start], header.header_length)
    count, rest = divmod(header.payload_length, size)
    pieces = _slicer(size, count)(frame, start)
    fronts = indexes_behind(front)
    payloads = list(map(b"".join, zip(fronts, repeat(head), pieces, strict=False)))
    if rest:
        payloads.append(b"".join((fronts[count], head, frame[-rest:])))
    return payloads


@lru_cache(maxsize=256)
def indexes_behind(front: bytes) -> tuple[bytes, ...]:
    """`front` and each index a payload can have, in order."""
    return tuple(map(front.__add__, INDEXES))


@lru_cache(maxsize=128)
def _slicer(size: int, count: int) -> Callable[[bytes, int], tuple[bytes, ...]]:
    """(frame, start) → `count` slices of `size` bytes from `start` on, made by one C call."""
    return Struct(f"{size}s" * count).unpack_from
