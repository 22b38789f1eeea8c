"""Variable-length integers (RFC 9000 §16): 1, 2, 4 or 8 bytes, the length in the two highest bits."""

from __future__ import annotations

MAX_VARINT = (1 << 62) - 1


def encode_varint(value: int) -> bytes:
    """The shortest form. Raises ValueError outside 0 … 2^62 - 1."""
    if value < 0:
        raise ValueError("a varint is not negative")
    if value < 0x40:
        return bytes((value,))
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    if value <= MAX_VARINT:
        return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
    raise ValueError("a varint holds at most 62 bits")


def varint_length(first: int) -> int:
    """Bytes of the varint whose first byte is `first`."""
    return 1 << (first >> 6)


def decode_varint(data: bytes | bytearray, offset: int = 0) -> tuple[int, int]:
    """→ (value, offset behind it). Longer forms than needed are legal. Raises ValueError when bytes are missing."""
    if offset >= len(data):
        raise ValueError("truncated varint")
    length = varint_length(data[offset])
    end = offset + length
    if end > len(data):
        raise ValueError("truncated varint")
    return int.from_bytes(data[offset:end], "big") & ((1 << (8 * length - 2)) - 1), end
