"""Capture files in pcapng (draft-ietf-opsawg-pcapng), pure: blocks as bytes. Each point is an interface of its own, and
what became of a packet is its comment."""

from __future__ import annotations

import struct

# LINKTYPE_NULL: four bytes name the family, the IP header follows. With LINKTYPE_RAW libpcap refuses a file of several
# interfaces: it compares the second one's number with what the first one's became.
_NULL = 0
_IPV4, _IPV6 = struct.pack("<I", 2), struct.pack("<I", 24)
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_END, _COMMENT, _NAME, _RESOLUTION, _FLAGS = 0, 1, 2, 9, 2
_BYTE_ORDER = 0x1A2B3C4D
_INBOUND, _OUTBOUND = 1, 2


class PcapNg:
    """Makes the blocks of one file: `begin`, then `packet` for each."""

    def __init__(self, comment: str, snap: int) -> None:
        self._comment = comment
        self._snap = snap
        self._interfaces: dict[str, int] = {}

    def begin(self) -> bytes:
        """The section header."""
        body = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1)
        return _block(_SECTION, body + _option(_COMMENT, self._comment.encode()) + _option(_END, b""))

    def packet(self, at: float, point: str, data: bytes, length: int, comment: str, *, inbound: bool) -> bytes:
        """One packet, after the description of its point when that is new. `at` is POSIX seconds, kept to the
        microsecond; `length` the packet's own, `data` may be shorter."""
        number = self._interfaces.get(point)
        before = b""
        if number is None:
            number = self._interfaces[point] = len(self._interfaces)
            before = self._interface(point)
        micros = round(at * 1_000_000)
        framed = (_IPV6 if data[:1] and data[0] >> 4 == 6 else _IPV4) + data
        original = length + len(framed) - len(data)
        head = struct.pack("<IIIII", number, micros >> 32, micros & 0xFFFFFFFF, len(framed), original)
        options = _option(_FLAGS, struct.pack("<I", _INBOUND if inbound else _OUTBOUND))
        if comment:
            options = _option(_COMMENT, comment.encode()) + options
        return before + _block(_PACKET, head + _padded(framed) + options + _option(_END, b""))

    def _interface(self, point: str) -> bytes:
        head = struct.pack("<HHI", _NULL, 0, self._snap + len(_IPV4))
        options = _option(_NAME, point.encode()) + _option(_RESOLUTION, bytes((6,))) + _option(_END, b"")
        return _block(_INTERFACE, head + options)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + length + body + length


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
