"""ICMP and ICMPv6 error types, codes, pointers and MTUs in each other's terms (RFC 7915 §4.2, §5.2)."""

from __future__ import annotations

from typing import Final

from vpnrs_nat64.translate.problem import (
    V4_PARAMETER,
    V4_TIME_EXCEEDED,
    V4_UNREACHABLE,
    V6_PARAMETER,
    V6_TIME_EXCEEDED,
    V6_TOO_BIG,
    V6_UNREACHABLE,
    Error,
)

MIN_V6_MTU: Final = 1280
# The smallest that IPv4 knows (RFC 791).
MIN_V4_MTU: Final = 68

# RFC 1191 §7.1.
PLATEAUS: Final = (65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68)

_V4_UNREACHABLE_CODES: Final = {
    **dict.fromkeys((0, 1, 5, 6, 7, 8, 11, 12), (V6_UNREACHABLE, 0)),
    3: (V6_UNREACHABLE, 4),
    **dict.fromkeys((9, 10, 13, 15), (V6_UNREACHABLE, 1)),
}
_V6_UNREACHABLE_CODES: Final = {0: 1, 2: 1, 3: 1, 1: 10, 4: 3}

_POINTER_TO_V6: Final = {
    0: 0, 1: 1, 2: 4, 3: 4, 8: 7, 9: 6, **dict.fromkeys(range(12, 16), 8), **dict.fromkeys(range(16, 20), 24),
}  # fmt: skip
_POINTER_TO_V4: Final = {
    0: 0, 1: 1, 4: 2, 5: 2, 6: 9, 7: 8, **dict.fromkeys(range(8, 24), 12), **dict.fromkeys(range(24, 40), 16),
}  # fmt: skip
# The next-header field: what "protocol unreachable" points at.
_NEXT_HEADER: Final = 6


def error_v4_to_v6(kind: int, code: int, rest: int, total: int, mtu4: int, mtu6: int) -> Error | None:
    """The ICMPv6 error for an ICMP one, None: there is none. `rest` is its second word, `total` the embedded packet's
    total length, `mtu4` and `mtu6` the next hops' MTUs, all in bytes."""
    if kind == V4_UNREACHABLE:
        if code == 4:
            return Error(V6_TOO_BIG, 0, mtu_to_v6(rest & 0xFFFF, total, mtu4, mtu6))
        if code == 2:
            return Error(V6_PARAMETER, 1, _NEXT_HEADER)
        found = _V4_UNREACHABLE_CODES.get(code)
        return Error(*found) if found else None
    if kind == V4_TIME_EXCEEDED:
        return Error(V6_TIME_EXCEEDED, code)
    if kind == V4_PARAMETER and code in (0, 2):
        pointer = _POINTER_TO_V6.get(rest >> 24)
        return None if pointer is None else Error(V6_PARAMETER, 0, pointer)
    return None


def error_v6_to_v4(kind: int, code: int, rest: int, fragmented: bool, mtu4: int, mtu6: int) -> Error | None:
    """The ICMP error for an ICMPv6 one, None: there is none. `fragmented`: the embedded packet has a fragment
    header."""
    if kind == V6_UNREACHABLE:
        found = _V6_UNREACHABLE_CODES.get(code)
        return None if found is None else Error(V4_UNREACHABLE, found)
    if kind == V6_TOO_BIG:
        # Whatever its code: receivers ignore that (RFC 4443 §3.2).
        return Error(V4_UNREACHABLE, 4, mtu_to_v4(rest, fragmented, mtu4, mtu6))
    if kind == V6_TIME_EXCEEDED:
        return Error(V4_TIME_EXCEEDED, code)
    if kind == V6_PARAMETER and code == 0:
        pointer = _POINTER_TO_V4.get(rest)
        return None if pointer is None else Error(V4_PARAMETER, 0, pointer << 24)
    if kind == V6_PARAMETER and code == 1:
        return Error(V4_UNREACHABLE, 2)
    return None


def mtu_to_v6(mtu: int, total: int, mtu4: int, mtu6: int) -> int:
    """RFC 7915 §4.2. Routers older than RFC 1191 say 0: then it is the plateau below the packet's length."""
    if not mtu:
        mtu = next((plateau for plateau in PLATEAUS if MIN_V6_MTU <= plateau < total), 0)
    return max(MIN_V6_MTU, min(mtu + 20, mtu6, mtu4 + 20))


def mtu_to_v4(mtu: int, fragmented: bool, mtu4: int, mtu6: int) -> int:
    """RFC 7915 §5.2; a fragment header takes 8 more bytes of IPv6's packet. No path of IPv6 has an MTU below 1280, so
    none is told (RFC 8201 §4): what a host believes of our address holds for everybody behind it."""
    growth = 28 if fragmented else 20
    return min(max(MIN_V4_MTU, min(max(mtu, MIN_V6_MTU) - growth, mtu4, mtu6 - growth)), 0xFFFF)
