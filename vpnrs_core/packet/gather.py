"""Neighbouring datagrams of a flow, as a TUN gives them one by one, gathered into UDP super-packets with few C calls.

Whatever a packet costs on its way through us is then paid once a run. Only what a kernel leaves unfinished is gathered:
packets with partial checksums, of one length, whose headers differ in nothing but IPv4's identification. The kernel at
the other end makes these packets of the super-packet again, byte for byte, but that it counts identifications from the
first one's: where fragmentation is not allowed they mean nothing (RFC 6864 section 4), and a sender whose packets were
dropped in the TUN's queue leaves gaps; where it is allowed, only packets that count are gathered. Everything else
passes as it is; coalesce.py joins more kinds, one packet at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby
from operator import add, itemgetter
from struct import Struct
from typing import Any

from vpnrs_core.packet.checksum import ones_sum
from vpnrs_core.packet.coalesce import MAX_LENGTH, MAX_UDP_JOINED, super_frame
from vpnrs_core.packet.header import UDP, BadPacket, examine
from vpnrs_core.packet.vnet import CSUM_OFFSET, NEEDS_CSUM, VNET, VNET_LENGTH

# Fewer in a batch, or in a run, are not worth the look: a batch of a few packets is mostly acknowledgements.
FEW = 8
LEAST = 3

# What groups: vnet header, version … IPv4 length or IPv6 flow label.
_front = itemgetter(slice(0, VNET_LENGTH + 4))
# Addresses, ports, UDP length and checksum.
_v4_flow = itemgetter(slice(VNET_LENGTH + 12, VNET_LENGTH + 28))
_v6_flow = itemgetter(slice(VNET_LENGTH + 8, VNET_LENGTH + 48))
_UDP_HEADER = 8
_DONT_FRAGMENT = 0x40


def gather(frames: Sequence[bytes]) -> Sequence[bytes]:
    """The frames in order, runs of datagrams as one super-packet each. What comes out has the bytes of what came in;
    nothing is judged: a malformed frame stays as it was."""
    if len(frames) < FEW:
        return frames
    gathered: list[bytes] = []
    for _, group in groupby(frames, _front):
        run = list(group)
        if len(run) < LEAST or not _is_lone_udp(run[0]):
            gathered += run
            continue
        flow = _v4_flow if run[0][VNET_LENGTH] >> 4 == 4 else _v6_flow
        most = max(1, min(MAX_UDP_JOINED, MAX_LENGTH // (len(run[0]) - VNET_LENGTH)))
        for _, alike in groupby(run, flow):
            left = list(alike)
            while left:
                gathered += _gather(left[:most])
                del left[:most]
    return gathered


def _is_lone_udp(frame: bytes) -> bool:
    """A datagram without IP options and extension headers, whole, with a partial checksum of its own."""
    if len(frame) < VNET_LENGTH + 28 or frame[0] != NEEDS_CSUM or frame[1]:
        return False
    ip = frame[VNET_LENGTH]
    if ip == 0x45:
        l4, fragment = 20, frame[VNET_LENGTH + 6] & 0xBF or frame[VNET_LENGTH + 7]
        protocol = frame[VNET_LENGTH + 9]
    else:
        l4, fragment, protocol = 40, 0, frame[VNET_LENGTH + 6] if ip >> 4 == 6 else 0
    _, _, _, _, start, offset = VNET.unpack_from(frame)
    return protocol == UDP and not fragment and start == l4 and offset == CSUM_OFFSET[UDP]


def _gather(run: list[bytes]) -> list[bytes]:
    """The run as one frame, or as it was when something in it differs that must not."""
    first = run[0]
    # The grouping looked at vnet header and addresses: what has them in common with a datagram need not be one.
    if len(run) < LEAST or not _is_lone_udp(first):
        return run
    try:
        header = examine(first)
    except BadPacket:
        return run
    size, l4 = len(first), VNET_LENGTH + header.l4_offset
    payload = size - l4 - _UDP_HEADER
    said = first[l4 + 4] << 8 | first[l4 + 5]
    if not payload or said != payload + _UDP_HEADER or set(map(len, run)) != {size}:
        return run
    if header.version == 4:
        numbers, between, sums, payloads = _columns(_v4_splitter(payload, len(run))(b"".join(run)), 4)
        atomic = bool(first[VNET_LENGTH + 6] & _DONT_FRAGMENT)
        if not _sound(numbers, sums, atomic) or ones_sum(first[VNET_LENGTH : VNET_LENGTH + 20]):
            return run
    else:
        between, payloads = _columns(_v6_splitter(payload, len(run))(b"".join(run)), 2)
    if between.count(between[0]) != len(run):
        return run
    return [super_frame(first, header, payloads)]


def _columns(fields: tuple[Any, ...], width: int) -> list[tuple[Any, ...]]:
    return [fields[column::width] for column in range(width)]


def _sound(numbers: tuple[int, ...], sums: tuple[int, ...], atomic: bool) -> bool:
    """The header checksums of all are as right as the first one's and, but for `atomic` ones, identifications count up
    by one, as a segmenting kernel writes them."""
    if not atomic and numbers != tuple(range(numbers[0], numbers[0] + len(numbers))):
        return False
    if 0xFFFF in sums:
        return False
    both = list(map(add, numbers, sums))
    return both.count(both[0]) == len(both) or len({value % 65535 for value in both}) == 1


# What of a frame is not alike in all of a run already, by the grouping.


@lru_cache(maxsize=128)
def _v4_splitter(payload: int, count: int) -> Callable[[bytes], tuple[Any, ...]]:
    """Identification; fragment field, TTL, protocol; header checksum; payload of each frame."""
    return Struct("!" + f"{VNET_LENGTH + 4}xH4sH16x{payload}s" * count).unpack


@lru_cache(maxsize=128)
def _v6_splitter(payload: int, count: int) -> Callable[[bytes], tuple[Any, ...]]:
    """Length, next header, hop limit; payload of each frame."""
    return Struct(f"{VNET_LENGTH + 4}x4s40x{payload}s" * count).unpack
