"""Payloads joined into super-packets again: what cut.py made, checked before anyone believes a byte of it.

A super-packet's headers are examined once, in the first payload of a run. The payloads that follow have to repeat them
byte for byte, with the next index and the right length, which C calls compare. Loss and reordering make runs shorter;
what a shorter run's headers have to say is mended (mend.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from vpnrs_core.packet.checks import check_super_packet, check_udp_length
from vpnrs_core.packet.cut import INDEX_LENGTH, indexes_behind
from vpnrs_core.packet.header import BadPacket, Header, examine_head
from vpnrs_core.packet.mend import mend
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.vnet import MAX_TCP_SEGMENTS, NEEDS_CSUM, VNET, VNET_LENGTH


class _Start(NamedTuple):
    """What the first payload of a run says: the bytes in front of its index, its index, vnet header and headers as they
    came, what the walk found in them, how many segments the super-packet has, bytes of each but the last, bytes of the
    last."""

    front: bytes
    first: int
    head: bytes
    header: Header
    segments: int
    size: int
    last: int


def join(payloads: Sequence[bytes], bad: Callable[[], None], skip: int = 0) -> list[Packet]:
    """Packets, in the order of the payloads, whose indexes come behind `skip` bytes that all of a run share. `bad` is
    called once for each payload that breaks a rule."""
    packets: list[Packet] = []
    at, end = 0, len(payloads)
    while at < end:
        try:
            start = _accept(payloads[at], skip)
        except BadPacket:
            bad()
            at += 1
            continue
        run = payloads[at : at + start.segments - start.first]
        pieces = _pieces(run, start)
        packets.append(_build(pieces, start))
        at += len(pieces)
    return packets


def _accept(payload: bytes, skip: int) -> _Start:
    """Judge a payload by itself (docs/wire.md, Accept). Raises BadPacket."""
    begin = skip + INDEX_LENGTH
    ip = begin + VNET_LENGTH
    header = examine_head(payload, ip)
    flags, gso_type, _, size, start, offset = VNET.unpack_from(payload, begin)
    check_super_packet(header, flags, gso_type, size, start, offset)
    check_udp_length(payload, ip, header)
    whole, rest = divmod(header.payload_length, size)
    segments = whole + (rest > 0)
    if segments > MAX_TCP_SEGMENTS:
        raise BadPacket("more segments than an index can count")
    index = payload[skip]
    if index >= segments:
        raise BadPacket("index beyond the last segment")
    last = rest or size
    end = ip + header.header_length
    if len(payload) - end != (last if index == segments - 1 else size):
        raise BadPacket("segment length disagrees")
    return _Start(payload[:skip], index, payload[begin:end], header, segments, size, last)


def _pieces(run: Sequence[bytes], start: _Start) -> Sequence[bytes]:
    """What the payloads that belong together carry, headers taken off: of the first, and of those that follow it as
    they should. `run` has no more payloads than the super-packet has."""
    first, size, head = start.first, start.size, start.head
    length = len(start.front) + INDEX_LENGTH + len(head)
    full = min(len(run), start.segments - (start.last != size) - first)
    pieces: Sequence[bytes] = ()
    # Its last one tells whether a run is worth splitting: losses and strangers' tricks should cost little.
    if (
        full > 1
        and list(map(len, run[:full])).count(length + size) == full
        and run[full - 1].startswith(indexes_behind(start.front)[first + full - 1] + head)
    ):
        fields = _splitter(length - len(head), len(head), size, full)(b"".join(run[:full]))
        fronts = indexes_behind(start.front)[first : first + full]
        if fields[::3] == fronts and fields[1::3].count(head) == full:
            pieces = fields[2::3]
    if len(pieces) == full < len(run) or not pieces:
        return _one_by_one(run, start, pieces)
    return pieces


def _one_by_one(run: Sequence[bytes], start: _Start, pieces: Sequence[bytes]) -> Sequence[bytes]:
    """`pieces` and those behind them, up to the first payload that does not belong to the same super-packet."""
    fronts, first, head = indexes_behind(start.front), start.first, start.head
    length = len(start.front) + INDEX_LENGTH + len(head)
    found = list(pieces)
    for index, payload in enumerate(run[len(found) :], first + len(found)):
        size = start.last if index == start.segments - 1 else start.size
        if len(payload) != length + size or not payload.startswith(fronts[index] + head):
            break
        found.append(payload[length:])
    return found


def _build(pieces: Sequence[bytes], start: _Start) -> Packet:
    """The packet that a run is."""
    header, index = start.header, start.first
    _, gso_type, _, size, csum_start, offset = VNET.unpack_from(start.head)
    vnet = VNET.pack(NEEDS_CSUM, gso_type, header.header_length, size, csum_start, offset)
    if len(pieces) == start.segments:
        return Packet.examined(b"".join((vnet, start.head[VNET_LENGTH:], *pieces)), header)
    last = index + len(pieces) == start.segments
    payload = (len(pieces) - 1) * size + (start.last if last else size)
    head = mend(vnet + start.head[VNET_LENGTH:], header, index, payload, last)
    return Packet(b"".join((head, *pieces)))


@lru_cache(maxsize=256)
def _splitter(front: int, head: int, size: int, count: int) -> Callable[[bytes], tuple[bytes, ...]]:
    """Splits that many payloads, one behind the other, into front, head and piece of each, with one C call."""
    return Struct(f"{front}s{head}s{size}s" * count).unpack
