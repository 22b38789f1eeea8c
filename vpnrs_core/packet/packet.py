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


class Packet:
    """`frame` is vnet header plus IP packet; `session` is the one an ingress packet came from, None on egress.

    The bytes are examined once, when first asked about: every property that needs the headers raises BadPacket for
    a malformed packet. What has passed `header` once never raises again."""

    __slots__ = ("_header", "frame", "session")

    def __init__(self, frame: bytes, session: Session | None = None) -> None:
        self.frame = frame
        self.session = session
        self._header: Header | None = None

    @classmethod
    def of(cls, data: bytes, session: Session | None = None, vnet: bytes = PLAIN_VNET) -> Packet:
        """From an IP packet without vnet header."""
        return cls(vnet + data, session)

    @classmethod
    def examined(cls, frame: bytes, header: Header) -> Packet:
        """From a frame whose header the caller has: what `checks.well_formed` would find in it."""
        packet = cls(frame)
        packet._header = header
        return packet

    @property
    def header(self) -> Header:
        """The result of `checks.well_formed`, kept."""
        header = self._header
        if header is None:
            header = self._header = well_formed(self.frame)
        return header

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
    def gso_size(self) -> int:
        """Payload bytes of each segment but the last; 0: not a super-packet."""
        return self.frame[4] | self.frame[5] << 8 if self.frame[1] else 0

    @property
    def needs_csum(self) -> bool:
        """The checksum at csum_start + csum_offset is partial: it holds the pseudo-header's sum only."""
        return bool(self.frame[0] & NEEDS_CSUM)

    @property
    def segments(self) -> int:
        """Packets that this becomes on a wire."""
        size = self.gso_size
        return -(-self.header.payload_length // size) if size else 1

    @property
    def ip_bytes(self) -> int:
        """Bytes of all segments together on a wire, each with its headers."""
        header = self.header
        return header.length + (self.segments - 1) * header.header_length

    @property
    def largest_segment(self) -> int:
        """Bytes of the largest segment on a wire: what must fit the path's MTU."""
        size = self.gso_size
        return self.header.header_length + size if size else self.header.length

    def with_session(self, session: Session | None) -> Packet:
        """The same packet as another session's."""
        packet = Packet(self.frame, session)
        packet._header = self._header
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
            packet._header = examine(frame)
            return packet
        new = examine(frame)
        flags, gso_type, _, gso_size, start, offset = VNET.unpack_from(frame)
        if gso_type & ~GSO_ECN in (GSO_TCPV4, GSO_TCPV6):
            gso_type = gso_type & GSO_ECN | (GSO_TCPV4 if new.version == 4 else GSO_TCPV6)
        if flags & NEEDS_CSUM:
            start += new.l4_offset - old.l4_offset
        vnet = VNET.pack(flags, gso_type, new.header_length, gso_size, start, offset)
        packet = Packet(vnet + frame[VNET_LENGTH:], self.session)
        packet._header = well_formed(packet.frame)
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
