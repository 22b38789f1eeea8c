"""The walk over IPv6 extension headers as translation sees them: some are skipped, some end it (RFC 7915 §5.1)."""

from __future__ import annotations

from typing import NamedTuple

from vpnrs_core.packet.header import (
    DESTINATION,
    EXTENSIONS,
    FRAGMENT,
    HOP_BY_HOP,
    MAX_EXTENSION_BYTES,
    MAX_EXTENSIONS,
    ROUTING,
)
from vpnrs_nat64.translate.problem import MALFORMED, V6_PARAMETER, Error, Problem

_SKIPPED = frozenset({HOP_BY_HOP, ROUTING, DESTINATION})


class Walk(NamedTuple):
    """`protocol` is the transport's, found at `l4`. `fragment` is where the fragment header starts, 0: there is none.
    Offsets and `offset`, the fragment's, are bytes from the IPv6 header's start; `ident` is the 32-bit one."""

    protocol: int
    l4: int
    fragment: int = 0
    offset: int = 0
    more: bool = False
    ident: int = 0


def walk_v6(data: bytes, start: int) -> Walk | Problem:
    """Walks the IPv6 packet at `start`, which may be cut off behind its headers. Its 40 bytes are there.

    Authentication headers, mobility and their like are transports here: what they protect would not survive."""
    kind, at = data[start + 6], start + 40
    for _ in range(MAX_EXTENSIONS):
        if kind != FRAGMENT and kind not in _SKIPPED:
            return Walk(kind, at - start)
        if at + 8 > len(data) or at - start - 40 > MAX_EXTENSION_BYTES:
            return MALFORMED
        if kind == FRAGMENT:
            if data[at] in EXTENSIONS:
                return Problem("extension_after_fragment")
            field = data[at + 2] << 8 | data[at + 3]
            ident = int.from_bytes(data[at + 4 : at + 8], "big")
            return Walk(data[at], at - start + 8, at - start, field & 0xFFF8, bool(field & 1), ident)
        if kind == HOP_BY_HOP and at != start + 40:
            return MALFORMED
        if kind == ROUTING and data[at + 3]:
            return Problem("source_route", Error(V6_PARAMETER, 0, at - start + 3))
        kind, at = data[at], at + (data[at + 1] + 1) * 8
        if at > len(data):
            return MALFORMED
    return Walk(kind, at - start) if kind not in EXTENSIONS else MALFORMED
