"""In-order packets of a flow joined into super-packets, so that the kernel gets few large writes.

Whoever segments a super-packet again gets exactly the packets that were joined. That decides what may be joined: the
kernel computes all checksums anew, so a wrong one would come out right. Only packets whose checksums verify are
joined; the others stay alone, as wrong as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from vpnrs_core.packet.checksum import checksum, ones_sum
from vpnrs_core.packet.header import TCP, UDP
from vpnrs_core.packet.mend import CWR, FIN, PSH
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.vnet import (
    CSUM_OFFSET,
    GSO_ECN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    PLAIN_VNET,
    VNET,
    VNET_LENGTH,
)

JOIN_ALL = frozenset({"tcp4", "tcp6", "udp4", "udp6"})
MAX_LENGTH = 65535
MAX_UDP_JOINED = 64

# A joined packet is acknowledged data; SYN, RST, URG and the rest mark packets that stand alone.
_ACK = 0x10
_VARIABLE_FLAGS = FIN | PSH | CWR
_ECE = 0x40

_IPV4 = Struct("!xxHHxxxxH")
_KIND = {(4, TCP): "tcp4", (6, TCP): "tcp6", (4, UDP): "udp4", (6, UDP): "udp6"}


class _Piece(NamedTuple):
    """What joining compares. `same` is equal in all pieces of a run, `number` is the IPv4 identification (IPv6: 0),
    `sequence` TCP's (UDP: -1), `ip_sum` what length, identification and checksum of the IPv4 header add up to."""

    same: tuple[bytes, ...]
    number: int
    sequence: int
    flags: int
    payload: int
    ip_sum: int


class _Run:
    """Packets that will be one, the first of which gives the headers."""

    __slots__ = ("first", "l4", "last", "length", "limit", "number", "number_step", "packets", "sequence", "verified")

    def __init__(self, packet: Packet, piece: _Piece) -> None:
        header = packet.header
        self.packets = [packet]
        self.first = self.last = piece
        self.l4 = header.l4_offset
        self.number_step = 1 if header.version == 4 else 0
        self.number = piece.number + self.number_step & 0xFFFF
        self.sequence = self._next_sequence(piece)
        self.length = header.length
        self.limit = MAX_UDP_JOINED if header.protocol == UDP else MAX_LENGTH
        self.verified = False

    def takes(self, packet: Packet, piece: _Piece) -> bool:
        """Whether `packet` is the run's next segment."""
        first, last = self.first, self.last
        return (
            piece.same == first.same
            and piece.number == self.number
            and piece.sequence == self.sequence
            and last.payload == first.payload >= piece.payload
            and not (last.flags & (FIN | PSH) or piece.flags & CWR)
            and piece.ip_sum == first.ip_sum
            and self.length + piece.payload <= MAX_LENGTH
            and len(self.packets) < self.limit
            and packet.session is self.packets[0].session
            and (self.verified or self._verify(self.packets[0]))
            and self._verify(packet)
        )

    def append(self, packet: Packet, piece: _Piece) -> None:
        self.packets.append(packet)
        self.last = piece
        self.length += piece.payload
        self.number = piece.number + self.number_step & 0xFFFF
        self.sequence = self._next_sequence(piece)

    def _next_sequence(self, piece: _Piece) -> int:
        return piece.sequence + piece.payload & 0xFFFFFFFF if piece.sequence >= 0 else piece.sequence

    def _verify(self, packet: Packet) -> bool:
        """The L4 checksum, and the first packet's IPv4 header checksum, which vouches for the others' by `ip_sum`."""
        frame, header = packet.frame, packet.header
        field = VNET_LENGTH + self.l4 + CSUM_OFFSET[header.protocol]
        value = frame[field] << 8 | frame[field + 1]
        # Valid, but not how the kernel writes it: UDP without a checksum, TCP's zero as 0xFFFF.
        if value == (0 if header.protocol == UDP else 0xFFFF):
            return False
        if header.version == 4:
            if not self.verified and ones_sum(frame[VNET_LENGTH : VNET_LENGTH + 20]):
                return False
            addresses = VNET_LENGTH + 12
        else:
            addresses = VNET_LENGTH + 8
        # The addresses lie before the L4 header without a gap: one sum covers both.
        if (ones_sum(frame[addresses:]) + header.protocol + header.length - self.l4) % 65535:
            return False
        self.verified = True
        return True

    def build(self) -> Packet:
        """The super-packet, with a partial checksum, as a TUN takes it."""
        packets = self.packets
        whole = packets[0]
        if len(packets) == 1:
            return whole
        header = whole.header
        cut, l4 = VNET_LENGTH + header.header_length, VNET_LENGTH + self.l4
        head = bytearray(whole.frame[:cut])
        offset = CSUM_OFFSET[header.protocol]
        if header.version == 4:
            head[12:14] = self.length.to_bytes(2, "big")
            head[20:22] = b"\0\0"
            head[20:22] = checksum(head[10:30]).to_bytes(2, "big")
            gso_type, addresses = GSO_TCPV4, head[22:30]
        else:
            head[14:16] = (self.length - 40).to_bytes(2, "big")
            gso_type, addresses = GSO_TCPV6, head[18:50]
        if header.protocol == TCP:
            head[l4 + 13] |= self.last.flags
            gso_type |= GSO_ECN if head[l4 + 13] & CWR else 0
        else:
            gso_type = GSO_UDP_L4
            head[l4 + 4 : l4 + 6] = (self.length - self.l4).to_bytes(2, "big")
        partial = (ones_sum(addresses) + header.protocol + self.length - self.l4) % 65535
        head[l4 + offset : l4 + offset + 2] = partial.to_bytes(2, "big")
        VNET.pack_into(head, 0, NEEDS_CSUM, gso_type, header.header_length, self.first.payload, self.l4, offset)
        return Packet(b"".join((head, *[packet.frame[cut:] for packet in packets])), whole.session)


def coalesce(packets: Sequence[Packet], join: frozenset[str] = JOIN_ALL) -> list[Packet]:
    """The packets with runs of a flow joined. `join`: which kinds may be, of tcp4, tcp6, udp4, udp6.

    The order inside a flow stays; a super-packet stands where its first packet stood. Raises BadPacket for a
    malformed packet: check before."""
    if len(packets) < 2 or not join:
        return list(packets)
    out: list[Packet | _Run] = []
    runs: dict[tuple[int, bytes], _Run] = {}
    for packet in packets:
        header = packet.header
        plain = 20 if header.version == 4 else 40
        if header.protocol not in (TCP, UDP):
            out.append(packet)
            continue
        if header.l4_offset != plain or header.is_fragment or not packet.frame.startswith(PLAIN_VNET):
            # It may belong to any flow between its addresses: nothing that follows may overtake it.
            runs.clear()
            out.append(packet)
            continue
        at = VNET_LENGTH + plain
        flow = (header.protocol, packet.frame[at - (8 if plain == 20 else 32) : at + 4])
        piece = _piece(packet, plain) if _KIND[header.version, header.protocol] in join else None
        if piece is None:
            runs.pop(flow, None)
            out.append(packet)
            continue
        run = runs.get(flow)
        if run is not None and run.takes(packet, piece):
            run.append(packet, piece)
        else:
            run = runs[flow] = _Run(packet, piece)
            out.append(run)
    return [entry.build() if isinstance(entry, _Run) else entry for entry in out]


def _piece(packet: Packet, plain: int) -> _Piece | None:
    """What to compare of a packet without IP options or extension headers; None: it stands alone."""
    frame, header = packet.frame, packet.header
    payload = header.length - header.header_length
    if payload < 1:
        return None
    if plain == 20:
        length, number, check = _IPV4.unpack_from(frame, VNET_LENGTH)
        if check == 0xFFFF:
            return None
        ip_sum = (length + number + check) % 65535
        network = frame[10:12] + frame[16:20]
    else:
        number = ip_sum = 0
        network = frame[10:14] + frame[16:18]
    at = VNET_LENGTH + plain
    if header.protocol == UDP:
        if frame[at + 4 : at + 6] != (payload + 8).to_bytes(2, "big"):
            return None
        return _Piece((network,), number, -1, 0, payload, ip_sum)
    flags = frame[at + 13]
    if not flags & _ACK or flags & ~(_ACK | _VARIABLE_FLAGS | _ECE):
        return None
    # Acknowledgement and data offset; window; urgent pointer and options.
    same = (
        network,
        frame[at + 8 : at + 13],
        bytes((flags & ~_VARIABLE_FLAGS,)),
        frame[at + 14 : at + 16],
        frame[at + 18 : VNET_LENGTH + header.header_length],
    )
    return _Piece(same, number, int.from_bytes(frame[at + 4 : at + 8], "big"), flags, payload, ip_sum)
