"""Packets as they go on a wire: super-packets cut into segments, partial checksums finished, as the kernel does it.

This is the plain codec's hot path. A super-packet's segments differ in a handful of fields: identification, sequence
number, two checksums and, at both ends, flags and lengths. So the headers are mended once per run of like segments,
their sum is taken once, and the fields are computed as columns that one `Struct.pack` per segment puts together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from struct import Struct

from vpnrs_core.packet.checksum import ones_sum, ones_sums
from vpnrs_core.packet.header import TCP, Header
from vpnrs_core.packet.mend import CWR, FIN, PSH, mend
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.vnet import NEEDS_CSUM, VNET, VNET_LENGTH


def segment(packet: Packet) -> list[bytes]:
    """Complete IP packets with finished checksums. Raises BadPacket for a malformed packet."""
    frame = packet.frame
    if not frame[1]:
        if not frame[0] & NEEDS_CSUM:
            return [frame[VNET_LENGTH:]]
        _ = packet.header  # the bounds of the checksum's position
        return [_finish(frame)]
    header = packet.header
    size = packet.gso_size
    cut = VNET_LENGTH + header.header_length
    head = frame[:cut]
    count, rest = divmod(header.payload_length, size)
    total = count + (rest > 0)
    segments: list[bytes] = []
    for first, end in _runs(head, header, total, rest > 0):
        start, stop = cut + first * size, cut + end * size
        payloads = [frame[at : at + size] for at in range(start, stop, size)]
        mended = mend(head, header, first, len(payloads[0]), end == total)
        segments += _emit(mended, header, payloads)
    return segments


def _finish(frame: bytes) -> bytes:
    """A lone packet with its partial checksum finished; zero is written as 0xFFFF, whatever the protocol."""
    _, _, _, _, start, offset = VNET.unpack_from(frame)
    start += VNET_LENGTH
    field = start + offset
    check = 0xFFFF - ones_sum(frame[start:])
    return b"".join((frame[VNET_LENGTH:field], check.to_bytes(2, "big"), frame[field + 2 :]))


def _runs(head: bytes, header: Header, total: int, short: bool) -> Iterator[tuple[int, int]]:
    """Ranges of segments whose headers differ only in what counts up: CWR sets the first apart, FIN, PSH and a
    `short` payload the last."""
    first, end = 0, total
    if header.protocol == TCP:
        flags = head[VNET_LENGTH + header.l4_offset + 13]
        if flags & CWR:
            yield 0, 1
            first = 1
        short = short or flags & (FIN | PSH) != 0
    if short:
        end = max(total - 1, first)
    if first < end:
        yield first, end
    if end < total:
        yield end, total


@lru_cache(maxsize=256)
def _layout(version: int, protocol: int, l4: int, header_length: int, size: int) -> Struct:
    """A segment: constant stretches of its headers, the fields that count between them, its payload."""
    ip = f"4sH4sH{l4 - 12 + 4}s" if version == 4 else f"{l4 + 4}s"
    if protocol == TCP:
        return Struct(f"!{ip}I8sH{header_length - l4 - 18}s{size}s")
    return Struct(f"!{ip}2sH{size}s")


def _emit(head: bytes, header: Header, payloads: Sequence[bytes]) -> list[bytes]:
    """Finished packets for a run. `head`: the mended headers of its first segment, with vnet header; all payloads
    have one length."""
    ip = head[VNET_LENGTH:]
    l4, count = header.l4_offset, len(payloads)
    size = len(payloads[0])
    columns: list[Iterable[object]] = []
    at = 0
    if header.version == 4:
        at = 12
        identification = ip[4] << 8 | ip[5]
        ids = _count(identification, count, 1, 0xFFFF)
        base = ones_sum(ip[:10] + ip[12:l4]) - identification
        checks = [65535 - ((base + x) % 65535 or 65535) for x in ids]
        columns = [repeat(ip[:4]), ids, repeat(ip[6:10]), checks]
    # The header's checksum field holds the pseudo-header's sum, so its own sum covers both.
    static = ones_sum(ip[l4:])
    columns.append(repeat(ip[at : l4 + 4]))
    if header.protocol == TCP:
        sequence = int.from_bytes(ip[l4 + 4 : l4 + 8], "big")
        sequences = _count(sequence, count, size, 0xFFFFFFFF)
        static -= sequence
        sums = [(static + a + b) % 65535 for a, b in zip(sequences, ones_sums(payloads), strict=True)]
        checks = [65535 - (x or 65535) for x in sums]
        columns += [sequences, repeat(ip[l4 + 8 : l4 + 16]), checks, repeat(ip[l4 + 18 :])]
    else:
        # UDP writes a zero checksum as 0xFFFF: zero means that there is none.
        checks = [65535 - (static + x) % 65535 for x in ones_sums(payloads)]
        columns += [repeat(ip[l4 + 4 : l4 + 6]), checks]
    pack = _layout(header.version, header.protocol, l4, header.header_length, size).pack
    return list(map(pack, *columns, payloads))


def _count(first: int, count: int, step: int, mask: int) -> Sequence[int]:
    """`count` numbers from `first` on, wrapping at `mask`."""
    numbers = range(first, first + count * step, step)
    if numbers[-1] <= mask:
        return numbers
    return [number & mask for number in numbers]
