"""Capsules (RFC 9297 §3.2): an incremental parser with a limit for each type, and the encoder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from vpnrs_core.errors import PeerError
from vpnrs_core.wire.varint import decode_varint, encode_varint

Capsule = tuple[int, bytes]


def encode_capsule(kind: int, value: bytes) -> bytes:
    return encode_varint(kind) + encode_varint(len(value)) + value


class CapsuleParser:
    """One stream's capsules. Never holds more than one limited value and what one `feed` brought.

    `limits`: the largest value in bytes of each known type. The value of any other type is skipped as it arrives,
    however long it says it is. `allowance`: how many capsules may still come, skipped ones too; whoever feeds it
    raises it as time goes on."""

    def __init__(self, limits: Mapping[int, int], allowance: float = math.inf) -> None:
        self._limits = limits
        self.allowance = allowance
        self._buffer = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> Iterator[Capsule]:
        """Take bytes at once → the capsules that are complete, parsed as the iterator is asked for them, so that what
        stands before an error is still seen. Raises PeerError for a value over its limit, and beyond the allowance."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._buffer += data
        return self._complete()

    def at_boundary(self) -> bool:
        """Whether the stream may end here: not inside a capsule."""
        return not self._buffer and not self._skip

    def _complete(self) -> Iterator[Capsule]:
        buffer = self._buffer
        while buffer:
            try:
                kind, offset = decode_varint(buffer)
                length, offset = decode_varint(buffer, offset)
            except ValueError:
                return
            if self.allowance < 1:
                raise PeerError("more capsules than anybody needs")
            limit = self._limits.get(kind)
            if limit is None:
                skipped = min(length, len(buffer) - offset)
                self._skip = length - skipped
                self.allowance -= 1
                del buffer[: offset + skipped]
                continue
            if length > limit:
                raise PeerError(f"capsule 0x{kind:x} has {length} bytes, {limit} are allowed")
            end = offset + length
            if end > len(buffer):
                return
            value = bytes(buffer[offset:end])
            del buffer[:end]
            self.allowance -= 1
            yield kind, value
