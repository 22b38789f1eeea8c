"""Internet checksums (RFC 1071) and their incremental update (RFC 1624).

Sums here are ones' complement sums modulo 65535. `int.from_bytes(b, "big") % 65535` is that sum in one C call: 2¹⁶ is
1 modulo 65535, so each 16-bit word counts as itself. The one thing it cannot tell is 0 from 0xFFFF, which are equal in
ones' complement; who needs the difference (an all-zero packet, UDP's "no checksum") says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

Buffer = bytes | bytearray | memoryview

# Above it the masks would be large, and such sums are rare: what is longer is a super-packet, summed by segment.
_FOLD_LIMIT = 2048


@lru_cache(maxsize=128)
def _fold(size: int) -> tuple[int, int, int, int]:
    """Two shifts and masks that halve a number of `size` bytes twice, at word boundaries."""
    half = (size * 8 + 31) // 32 * 16
    quarter = (half + 47) // 32 * 16
    return half, (1 << half) - 1, quarter, (1 << quarter) - 1


def ones_sums(parts: Sequence[bytes]) -> list[int]:
    """The ones' complement sums modulo 65535 of `parts`, which all have the same size.

    Halving a long number twice before the division is a third faster than dividing it whole."""
    if not parts:
        return []
    size = len(parts[0])
    if size > _FOLD_LIMIT:
        return [ones_sum(part) for part in parts]
    by_half, low_half, by_quarter, low_quarter = _fold(size)
    halves = [(x >> by_half) + (x & low_half) for x in map(int.from_bytes, parts)]
    sums = [((x >> by_quarter) + (x & low_quarter)) % 65535 for x in halves]
    return [(x << 8) % 65535 for x in sums] if size & 1 else sums


def ones_sum(data: Buffer) -> int:
    """The ones' complement sum of `data` modulo 65535, padded with a zero byte to a whole word."""
    size = len(data)
    total = int.from_bytes(data, "big")
    if 256 < size <= _FOLD_LIMIT:
        by_half, low_half, by_quarter, low_quarter = _fold(size)
        total = (total >> by_half) + (total & low_half)
        total = (total >> by_quarter) + (total & low_quarter)
    return (total << 8 if size & 1 else total) % 65535


def checksum(data: Buffer) -> int:
    """The Internet checksum of `data`, whose own checksum field is zero or left out: 0 … 0xFFFF as the kernel
    writes it. Real headers never sum up to zero, so the complement of a zero sum is 0."""
    return 0xFFFF - (ones_sum(data) or 0xFFFF)


def verifies(data: Buffer, pseudo: int = 0) -> bool:
    """Whether data with its checksum in place sums up to 0xFFFF, together with a pseudo-header's sum."""
    return (ones_sum(data) + pseudo) % 65535 == 0


def pseudo_sum(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """The sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1); `length` is the L4 header and payload in bytes.

    It is what the field of a partial checksum holds, modulo 65535."""
    return (int.from_bytes(source + destination, "big") + protocol + length) % 65535


def finish(total: int) -> int:
    """The checksum field for a sum: its complement, 0 for a sum of zero (see `checksum`)."""
    return 0xFFFF - (total % 65535 or 0xFFFF)


def update(old: int, was: int, becomes: int) -> int:
    """RFC 1624 eq. 3: the checksum `old` after a part of the data whose sum was `was` sums up to `becomes`."""
    total = (0xFFFF - old) + (65535 - was % 65535) + becomes % 65535
    # HC' = ~(~HC + ~m + m'), folded as the equation has it, so that a valid checksum never turns 0xFFFF.
    total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - ((total & 0xFFFF) + (total >> 16))
