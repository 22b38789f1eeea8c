"""The bounded walk over a packet's headers: everything that others may rely on is found, or refused, here.

Lengths in the packet must agree with each other and with the bytes that are there, so that whoever slices by them
later never reads or writes outside of what it looks at.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import NamedTuple

VNET_LENGTH = 10

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
NO_NEXT_HEADER = 59

# RFC 8200 §4 and the IANA list: headers that another next-header field follows. 50 (ESP) hides what follows it.
EXTENSIONS = frozenset({HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, 135, 139, 140})
MAX_EXTENSIONS = 8
MAX_EXTENSION_BYTES = 1024

_IPV4 = Struct("!BxHxxHxB2x4s4s")
_IPV6 = Struct("!4xHBx16s16s")


class BadPacket(ValueError):
    """The bytes are not a packet that may be passed on. `reason` is a short phrase for logs and tests."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Header(NamedTuple):
    """What the walk found. Offsets and lengths are bytes, counted from the start of the IP header.

    `protocol` is the upper-layer protocol behind the extension headers, found at `l4_offset`. `header_length` is the
    IP headers plus the L4 header; for a later fragment, and for a first one that cuts the L4 header off, there is no
    L4 header to count. `length` is the whole packet. `fragment_offset` is in bytes. `fragment_header` is where an
    IPv6 fragment header starts, 0: there is none (an atomic fragment has one, and is no fragment).
    """

    version: int
    protocol: int
    l4_offset: int
    header_length: int
    length: int
    source: bytes
    destination: bytes
    fragment_offset: int = 0
    more_fragments: bool = False
    fragment_header: int = 0

    @property
    def is_fragment(self) -> bool:
        return self.more_fragments or self.fragment_offset > 0

    @property
    def payload_length(self) -> int:
        """Bytes behind the L4 header."""
        return self.length - self.header_length


# Of all ten fields, without the steps in Python that a NamedTuple takes to be made: every packet needs one.
make_header: Callable[[tuple[object, ...]], Header] = partial(tuple.__new__, Header)


def examine(frame: bytes, start: int = VNET_LENGTH, length: int | None = None) -> Header:
    """The headers of the IP packet that fills `frame` from `start` to its end (RFC 791, 8200), or that has `length`
    bytes, of which only the headers need to be there.

    Raises BadPacket: truncated, a length field that disagrees, an impossible header length, a jumbogram, an
    extension header chain that is too long.
    """
    if length is None:
        length = len(frame) - start
    if length < 20:
        raise BadPacket("truncated IP header")
    version = frame[start] >> 4
    if version == 4:
        return _examine_v4(frame, start, length)
    if version == 6:
        return _examine_v6(frame, start, length)
    raise BadPacket("neither IPv4 nor IPv6")


def examine_head(frame: bytes, start: int = VNET_LENGTH) -> Header:
    """The headers of an IP packet of which `frame` has, from `start`, all headers but not all of the payload: the
    packet's length is what it says of itself. Raises BadPacket as `examine` does."""
    available = len(frame) - start
    if available < 20:
        raise BadPacket("truncated IP header")
    if frame[start] >> 4 == 4:
        length = frame[start + 2] << 8 | frame[start + 3]
    else:
        length = 40 + (frame[start + 4] << 8 | frame[start + 5])
        if available < 40:
            raise BadPacket("truncated IP header")
    try:
        header = examine(frame, start, length)
    except IndexError:
        raise BadPacket("truncated headers") from None
    # What the walk read as slices may have come out short; then the headers end beyond the bytes.
    if header.header_length > available:
        raise BadPacket("truncated headers")
    return header


def _examine_v4(frame: bytes, start: int, length: int) -> Header:
    first, total, fragment, protocol, source, destination = _IPV4.unpack_from(frame, start)
    l4 = (first & 15) * 4
    if l4 < 20:
        raise BadPacket("IPv4 header length below 20")
    if total != length:
        raise BadPacket("IPv4 total length disagrees")
    if l4 > length:
        raise BadPacket("truncated IPv4 options")
    if not fragment & 0x3FFF:
        end = _l4_end(frame, start, l4, length, protocol)
        return make_header((4, protocol, l4, end, length, source, destination, 0, False, 0))
    offset, more = (fragment & 0x1FFF) * 8, bool(fragment & 0x2000)
    _check_fragment(offset, more, length - l4)
    end = _fragment_end(frame, start, l4, length, protocol, offset)
    return Header(4, protocol, l4, end, length, source, destination, offset, more)


def _examine_v6(frame: bytes, start: int, length: int) -> Header:
    if length < 40:
        raise BadPacket("truncated IPv6 header")
    payload, protocol, source, destination = _IPV6.unpack_from(frame, start)
    if payload + 40 != length:
        raise BadPacket("IPv6 payload length disagrees" if payload else "jumbogram")
    if protocol not in EXTENSIONS:
        end = _l4_end(frame, start, 40, length, protocol)
        return make_header((6, protocol, 40, end, length, source, destination, 0, False, 0))
    protocol, l4, fragment_header = _walk_extensions(frame, start, length, protocol)
    offset, more = 0, False
    if fragment_header:
        field = int.from_bytes(frame[start + fragment_header + 2 : start + fragment_header + 4], "big")
        offset, more = field & 0xFFF8, bool(field & 1)
        _check_fragment(offset, more, length - fragment_header - 8)
    if offset or more:
        end = _fragment_end(frame, start, l4, length, protocol, offset)
    else:
        end = _l4_end(frame, start, l4, length, protocol)
    return Header(6, protocol, l4, end, length, source, destination, offset, more, fragment_header)


def _walk_extensions(frame: bytes, start: int, length: int, kind: int) -> tuple[int, int, int]:
    """→ upper-layer protocol, its offset, the fragment header's offset or 0."""
    at, fragment_header = 40, 0
    for count in range(MAX_EXTENSIONS + 1):
        if kind not in EXTENSIONS:
            return kind, at, fragment_header
        if count == MAX_EXTENSIONS:
            break
        if at + 8 > length:
            raise BadPacket("truncated extension header")
        if kind == HOP_BY_HOP and count:
            raise BadPacket("hop-by-hop header is not the first")
        following, units = frame[start + at], frame[start + at + 1]
        if kind == FRAGMENT:
            if fragment_header:
                raise BadPacket("two fragment headers")
            fragment_header, size = at, 8
        else:
            size = (units + 2) * 4 if kind == AUTHENTICATION else (units + 1) * 8
        kind, at = following, at + size
        if at > length:
            raise BadPacket("truncated extension header")
        if at - 40 > MAX_EXTENSION_BYTES:
            break
        if (
            fragment_header
            and int.from_bytes(frame[start + fragment_header + 2 : start + fragment_header + 4]) & 0xFFF8
        ):
            # A later fragment: what follows is payload, whatever its next-header field says.
            return kind, at, fragment_header
    raise BadPacket("extension header chain too long")


def _check_fragment(offset: int, more: bool, size: int) -> None:
    if more and size % 8:
        raise BadPacket("fragment length is no multiple of 8")
    if offset + size > 65535:
        raise BadPacket("fragment ends beyond 65535 bytes")


def _fragment_end(frame: bytes, start: int, l4: int, length: int, protocol: int, offset: int) -> int:
    if offset:
        return l4
    try:
        return _l4_end(frame, start, l4, length, protocol, whole=False)
    except BadPacket:
        return l4  # a first fragment may end inside its L4 header (RFC 791 lets links of 68 bytes do that)


def _l4_end(frame: bytes, start: int, l4: int, length: int, protocol: int, whole: bool = True) -> int:
    """Where the L4 header ends, counted like `l4` from the IP header."""
    if protocol == TCP:
        if l4 + 20 > length:
            raise BadPacket("truncated TCP header")
        size = (frame[start + l4 + 12] >> 4) * 4
        if size < 20:
            raise BadPacket("TCP header length below 20")
        if l4 + size > length:
            raise BadPacket("truncated TCP options")
        return l4 + size
    if protocol == UDP:
        if l4 + 8 > length:
            raise BadPacket("truncated UDP header")
        size = frame[start + l4 + 4] << 8 | frame[start + l4 + 5]
        # Shorter than the IP payload is allowed: what lies behind are UDP options (RFC 9868).
        if size < 8 or (whole and l4 + size > length):
            raise BadPacket("UDP length disagrees")
        return l4 + 8
    if protocol in (ICMP, ICMPV6):
        if l4 + 8 > length:
            # ICMPv6 and ICMP messages have 8 bytes at least (RFC 792; RFC 4443 §2.1 has 4, every type adds 4).
            raise BadPacket("truncated ICMP header")
        return l4 + 8
    return l4
