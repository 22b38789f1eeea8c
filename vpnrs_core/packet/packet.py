"""Packet: one IP packet, or one GSO super-packet of up to 64 KiB, with its vnet header.

A packet is immutable to everyone but its maker. Its bytes are one object, `frame`: the 10-byte vnet header and
the IP packet behind it, exactly as a TUN with IFF_VNET_HDR reads and writes them, so that 64 KiB go from one TUN
to the other without being copied for a header's sake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpnrs_core.packet.checks import well_formed
from vpnrs_core.packet.header import BadPacket, Header, examine
from vpnrs_core.packet.mend import slice_frame
from vpnrs_core.packet.vnet import GSO_ECN, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, PLAIN_VNET, VNET, VNET_LENGTH

if TYPE_CHECKING:
    from vpnrs_core.interfaces.session import Session

__all__ = ["PLAIN_VNET", "VNET_LENGTH", "BadPacket", "Packet"]

_MEASURES = frozenset({"gso_size", "segments", "ip_bytes", "largest_segment"})


class Packet:
    """`frame` is vnet header plus IP packet; `session` is the one an ingress packet came from, None on egress.

    The rest is found out when it is first asked about, and kept: everything that needs the headers raises BadPacket
    for a malformed packet. What has given its `header` once never raises again.

    `header`: what `checks.well_formed` found. `gso_size`: payload bytes of each segment but the last, 0 for a packet
    that is no super-packet. `segments`: packets that this becomes on a wire. `ip_bytes`: bytes of all of them together,
    each with its headers. `largest_segment`: bytes of the largest, which must fit the path's MTU."""

    __slots__ = ("frame", "gso_size", "header", "ip_bytes", "largest_segment", "segments", "session")

    frame: bytes
    session: Session | None
    header: Header
    gso_size: int
    segments: int
    ip_bytes: int
    largest_segment: int

    def __init__(self, frame: bytes, session: Session | None = None) -> None:
        self.frame = frame
        self.session = session

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Called for a slot that is still empty: each packet is asked for these a dozen times, and a property would
            be called every time."""
            if name == "header":
                return self.examine()
            if name in _MEASURES:
                self._measure(self.header)
                return object.__getattribute__(self, name)
            raise AttributeError(f"a packet has no {name!r}")

    def examine(self) -> Header:
        """Find out everything at once, for a packet that nobody has looked at yet → `header`. Raises BadPacket."""
        header = self.header = well_formed(self.frame)
        self._measure(header)
        return header

    def _measure(self, header: Header) -> None:
        frame = self.frame
        if not frame[1]:
            self.gso_size = 0
            self.segments = 1
            self.ip_bytes = self.largest_segment = header.length
            return
        size = self.gso_size = frame[4] | frame[5] << 8
        headers, length = header.header_length, header.length
        count = self.segments = (length - headers + size - 1) // size
        self.ip_bytes = length + (count - 1) * headers
        self.largest_segment = headers + size

    @classmethod
    def of(cls, data: bytes, session: Session | None = None, vnet: bytes = PLAIN_VNET) -> Packet:
        """From an IP packet without vnet header."""
        return cls(vnet + data, session)

    @classmethod
    def examined(cls, frame: bytes, header: Header) -> Packet:
        """From a frame whose header the caller has: what `checks.well_formed` would find in it."""
        packet = cls(frame)
        packet.header = header
        packet._measure(header)
        return packet

    @property
    def data(self) -> bytes:
        """The IP packet, copied out of the frame."""
        return self.frame[VNET_LENGTH:]

    @property
    def vnet(self) -> bytes:
        return self.frame[:VNET_LENGTH]

    @property
    def version(self) -> int:
        return self.header.version

    @property
    def src(self) -> bytes:
        """Packed address, 4 or 16 bytes."""
        return self.header.source

    @property
    def dst(self) -> bytes:
        """Packed address, 4 or 16 bytes."""
        return self.header.destination

    @property
    def protocol(self) -> int:
        """The upper-layer protocol, behind extension headers."""
        return self.header.protocol

    @property
    def l4_offset(self) -> int:
        """Bytes from the IP header's start to the upper layer's."""
        return self.header.l4_offset

    @property
    def header_length(self) -> int:
        """IP and L4 headers in bytes."""
        return self.header.header_length

    @property
    def is_fragment(self) -> bool:
        return self.header.is_fragment

    @property
    def gso_type(self) -> int:
        """Of the vnet header, with its ECN bit."""
        return self.frame[1]

    @property
    def needs_csum(self) -> bool:
        """The checksum at csum_start + csum_offset is partial: it holds the pseudo-header's sum only."""
        return bool(self.frame[0] & NEEDS_CSUM)

    def with_session(self, session: Session | None) -> Packet:
        """The same packet as another session's."""
        packet = Packet(self.frame, session)
        packet.header = self.header
        return packet

    def replace_headers(self, headers: bytes, *, l4: bool = True) -> Packet:
        """A packet with `headers` in the place of the IP and L4 headers, or of the IP headers only (`l4=False`).

        The maker keeps length and checksum fields right. gso_size stays; csum_start and hdr_len move with the
        headers, and the TCP gso_type follows the IP version. Raises BadPacket when the new headers disagree with
        the payload."""
        old = self.header
        cut = VNET_LENGTH + (old.header_length if l4 else old.l4_offset)
        frame = b"".join((self.frame[:VNET_LENGTH], headers, self.frame[cut:]))
        if frame.startswith(PLAIN_VNET):
            packet = Packet(frame, self.session)
            packet.header = examine(frame)
            return packet
        new = examine(frame)
        flags, gso_type, _, gso_size, start, offset = VNET.unpack_from(frame)
        if gso_type & ~GSO_ECN in (GSO_TCPV4, GSO_TCPV6):
            gso_type = gso_type & GSO_ECN | (GSO_TCPV4 if new.version == 4 else GSO_TCPV6)
        if flags & NEEDS_CSUM:
            start += new.l4_offset - old.l4_offset
        vnet = VNET.pack(flags, gso_type, new.header_length, gso_size, start, offset)
        packet = Packet(vnet + frame[VNET_LENGTH:], self.session)
        packet.header = well_formed(packet.frame)
        return packet

    def slice(self, first: int, count: int) -> Packet:
        """The segments `first` … `first + count - 1` as a packet of their own. Raises IndexError outside."""
        if first < 0 or count < 1 or first + count > self.segments:
            raise IndexError(f"segments {first}…{first + count - 1} of {self.segments}")
        if count == self.segments:
            return self
        return Packet(slice_frame(self.frame, self.header, first, count), self.session)

    def split(self, limit: int) -> list[Packet]:
        """The packet as packets of at most `limit` segments each, in order."""
        total = self.segments
        if total <= limit:
            return [self]
        return [self.slice(first, min(limit, total - first)) for first in range(0, total, limit)]

    def __repr__(self) -> str:
        try:
            header = self.header
        except BadPacket as bad:
            return f"<Packet {len(self.frame)} bytes, {bad.reason}>"
        return f"<Packet v{header.version} protocol {header.protocol}, {header.length} bytes, {self.segments} segments>"
