"""Changes inputs as a hostile peer might: bits, lengths, pieces left out, doubled, or taken from another input."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

MOST_BYTES = 70_000
# Values at which lengths, counts and versions break.
_EDGES = (0, 1, 2, 3, 4, 5, 6, 8, 10, 16, 17, 20, 40, 0x3F, 0x40, 0x45, 0x60, 0x7F, 0x80, 0xC0, 0xFE, 0xFF)
_WIDE = (0, 1, 19, 20, 39, 40, 255, 256, 1279, 1280, 16383, 16384, 32768, 65515, 65535)


def _bit(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] = rng.choice(_EDGES)


def _short(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    data[at : at + 2] = rng.choice(_WIDE).to_bytes(2, rng.choice(("big", "little")))


def _cut(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 4, 8, 20, len(data)))]


def _double(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at, size = rng.randrange(len(data)), rng.choice((1, 2, 8, 40, 200))
    piece = data[at : at + size]
    to = rng.choice((at, rng.randrange(len(data))))
    data[to:to] = piece * rng.choice((1, 2, 16))


def _noise(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16, 64)))


def _splice(data: bytearray, rng: random.Random, corpus: Sequence[bytes]) -> None:
    other = rng.choice(corpus)
    start = rng.randrange(len(other) + 1)
    data[rng.randrange(len(data)) :] = other[start:]


def _digits(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.choice((b"-1", b"0", b"99999999999999999999", b"1e400", b'"', b"[", b"{", b"]", b"null", b"\n"))


_CHANGES: Sequence[Callable[[bytearray, random.Random, Sequence[bytes]], None]] = (
    _bit, _byte, _byte, _short, _cut, _double, _noise, _splice, _digits,
)  # fmt: skip


def mutate(corpus: Sequence[bytes], rng: random.Random) -> bytes:
    """One to eight changes of one input."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4, 8))):
        if data:
            rng.choice(_CHANGES)(data, rng, corpus)
        else:
            data += rng.randbytes(rng.randrange(1, 64))
    return bytes(data[:MOST_BYTES])
