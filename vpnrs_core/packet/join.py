"""Payloads joined into super-packets again: what cut.py made, checked before anyone believes a byte of it.

A super-packet's headers are examined once, in the first payload of a run. The payloads that follow have to repeat them
byte for byte, with the next index and the right length, which C calls compare. Loss and reordering make runs shorter;
what a shorter run's headers have to say is mended (mend.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain, repeat
from operator import add, eq, indexOf, itemgetter
from typing import NamedTuple

from vpnrs_core.packet.checks import check_super_packet, check_udp_length
from vpnrs_core.packet.cut import INDEX_LENGTH, INDEXES
from vpnrs_core.packet.header import BadPacket, Header, examine_head
from vpnrs_core.packet.mend import mend
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.vnet import MAX_TCP_SEGMENTS, NEEDS_CSUM, VNET, VNET_LENGTH

_IP = INDEX_LENGTH + VNET_LENGTH


class _Start(NamedTuple):
    """What the first payload of a run says: its index, vnet header and headers as they came, what the walk found in
    them, how many segments the super-packet has, bytes of each but the last, bytes of the last."""

    first: int
    head: bytes
    header: Header
    segments: int
    size: int
    last: int


def join(payloads: Sequence[bytes], bad: Callable[[], None]) -> list[Packet]:
    """Packets, in the order of the payloads; `bad` is called once for each payload that breaks a rule."""
    packets: list[Packet] = []
    at, end = 0, len(payloads)
    while at < end:
        try:
            start = _accept(payloads[at])
        except BadPacket:
            bad()
            at += 1
            continue
        run = payloads[at : at + start.segments - start.first]
        if len(run) > 1:
            run = run[: _matching(run, start)]
        packets.append(_build(run, start))
        at += len(run)
    return packets


def _accept(payload: bytes) -> _Start:
    """Judge a payload by itself (docs/wire.md, Accept). Raises BadPacket."""
    header = examine_head(payload, _IP)
    flags, gso_type, _, size, start, offset = VNET.unpack_from(payload, INDEX_LENGTH)
    check_super_packet(header, flags, gso_type, size, start, offset)
    check_udp_length(payload, _IP, header)
    whole, rest = divmod(header.payload_length, size)
    segments = whole + (rest > 0)
    if segments > MAX_TCP_SEGMENTS:
        raise BadPacket("more segments than an index can count")
    index = payload[0]
    if index >= segments:
        raise BadPacket("index beyond the last segment")
    last = rest or size
    end = _IP + header.header_length
    if len(payload) - end != (last if index == segments - 1 else size):
        raise BadPacket("segment length disagrees")
    return _Start(index, payload[INDEX_LENGTH:end], header, segments, size, last)


def _matching(run: Sequence[bytes], start: _Start) -> int:
    """How many payloads from the first on belong together; `run` has no more than the super-packet has."""
    head, first = start.head, start.first
    front = _front(INDEX_LENGTH + len(head))
    expected = map(add, INDEXES[first : first + len(run)], repeat(head))
    count = _leading(map(eq, map(front, run), expected))
    length = INDEX_LENGTH + len(head)
    full = start.segments - (start.last != start.size) - first
    alike = _leading(map(eq, map(len, run[: min(count, full)]), repeat(length + start.size)))
    if alike == full < count:
        alike += len(run[full]) == length + start.last
    return alike


def _leading(results: Iterable[bool]) -> int:
    """How many are true before the first that is not. Lazy: a run that ends early costs no more than its length."""
    return indexOf(chain(results, (False,)), False)


def _build(run: Sequence[bytes], start: _Start) -> Packet:
    """The packet that a run is."""
    header, index = start.header, start.first
    _, gso_type, _, size, csum_start, offset = VNET.unpack_from(start.head)
    vnet = VNET.pack(NEEDS_CSUM, gso_type, header.header_length, size, csum_start, offset)
    pieces = map(_rest(_IP + header.header_length), run)
    if len(run) == start.segments:
        return Packet.examined(b"".join((vnet, start.head[VNET_LENGTH:], *pieces)), header)
    last = index + len(run) == start.segments
    payload = (len(run) - 1) * size + (start.last if last else size)
    head = mend(vnet + start.head[VNET_LENGTH:], header, index, payload, last)
    return Packet(b"".join((head, *pieces)))


@lru_cache(maxsize=256)
def _front(length: int) -> Callable[[bytes], bytes]:
    return itemgetter(slice(length))


@lru_cache(maxsize=256)
def _rest(start: int) -> Callable[[bytes], bytes]:
    return itemgetter(slice(start, None))
