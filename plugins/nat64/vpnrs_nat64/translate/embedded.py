"""The packet inside of an ICMP error, cut off anywhere, in the other family (RFC 7915 §4.3, §5.3).

Its TTL stays: it has been where it says. Its transport checksum is changed if it is there, and never verified.
"""

from __future__ import annotations

from typing import NamedTuple

from vpnrs_core.packet.checksum import ones_sum
from vpnrs_core.packet.header import ICMP, ICMPV6
from vpnrs_nat64.translate.headers import DF, MAX_WITHOUT_DF, MF, v4_header, v6_header
from vpnrs_nat64.translate.l4 import HEAD, Change, convert
from vpnrs_nat64.translate.problem import Problem
from vpnrs_nat64.translate.walk import Walk, walk_v6

_INNER = Problem("icmp_inner")


class Inner(NamedTuple):
    """The translated embedded packet's addresses, and its ports and echo identifier; None: as they are."""

    src: bytes
    dst: bytes
    sport: int | None = None
    dport: int | None = None
    ident: int | None = None


def embedded_to_v6(data: bytes, inner: Inner) -> bytes | Problem:
    """The IPv4 packet that `data` starts with, in IPv6; what lies behind its total length is padding, and goes."""
    if len(data) < 20 or data[0] >> 4 != 4:
        return _INNER
    l4, total = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
    if l4 < 20 or l4 > len(data) or total < l4 or ones_sum(data[:l4]):
        return _INNER
    field, ident = int.from_bytes(data[6:8], "big"), int.from_bytes(data[4:6], "big")
    walk = Walk(data[9], l4, 0, (field & 0x1FFF) * 8, bool(field & MF), ident)
    change = Change(data[12:20], inner.src + inner.dst, inner.sport, inner.dport, inner.ident, total - l4)
    body = _body(data[l4:total], walk, change, 6)
    if isinstance(body, Problem):
        return body
    protocol = ICMPV6 if walk.protocol == ICMP else walk.protocol
    return v6_header(data[1], total - l4, protocol, data[8], inner.src, inner.dst, walk) + body


def embedded_to_v4(data: bytes, inner: Inner) -> bytes | Problem:
    """The IPv6 packet that `data` starts with, in IPv4, as `to_v4` would have made it; its identification is 0 if no
    fragment header has one."""
    if len(data) < 40 or data[0] >> 4 != 6:
        return _INNER
    walk = walk_v6(data, 0)
    if isinstance(walk, Problem):
        return _INNER
    length = int.from_bytes(data[4:6], "big") + 40
    total = length - walk.l4 + 20
    if length < walk.l4 or total > 0xFFFF:
        return _INNER
    change = Change(data[8:40], inner.src + inner.dst, inner.sport, inner.dport, inner.ident, total - 20)
    body = _body(data[walk.l4 : length], walk, change, 4)
    if isinstance(body, Problem):
        return body
    if walk.fragment:
        ident, field = walk.ident & 0xFFFF, walk.offset >> 3 | (MF if walk.more else 0)
    else:
        ident, field = 0, (0 if total <= MAX_WITHOUT_DF else DF)
    tos = (data[0] << 8 | data[1]) >> 4 & 0xFF
    protocol = ICMP if walk.protocol == ICMPV6 else walk.protocol
    return v4_header(tos, total, ident, field, data[7], protocol, inner.src, inner.dst) + body


def _body(l4: bytes, walk: Walk, change: Change, version: int) -> bytes | Problem:
    """The transport header and what follows. An ICMP error or a message without counterpart ends it: nobody answers
    an error with an error."""
    if walk.offset:
        return l4
    head = bytearray(l4[:HEAD])
    if not convert(head, walk.protocol, change, version):
        return _INNER
    return bytes(head) + l4[HEAD:]
