"""In-order packets of a flow joined into super-packets, so that the kernel gets few large writes.

Whoever segments a super-packet again gets exactly the packets that were joined. That decides what may be joined: the
kernel computes all checksums anew, so a wrong one would come out right. Only packets whose checksums verify are
joined; the others stay alone, as wrong as they were. Packets whose checksums are partial join without a sum being
computed: their pseudo-header sums, apart from the lengths in them, have to be the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from vpnrs_core.packet.checksum import checksum, ones_sum, ones_sums
from vpnrs_core.packet.header import TCP, UDP, Header
from vpnrs_core.packet.kinds import ALL_KINDS, kind_of
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

JOIN_ALL = ALL_KINDS
MAX_LENGTH = 65535
MAX_UDP_JOINED = 64
MAX_TCP_JOINED = 256

# Flags that may differ inside a run. SYN, RST and URG mark packets that stand alone.
_VARIABLE = FIN | PSH | CWR
_ACK, _ECE = 0x10, 0x40
_JOINABLE = _VARIABLE | _ACK | _ECE

# Version … TOS; length; identification; fragment field, TTL, protocol; checksum.
_IPV4 = Struct(f"!{VNET_LENGTH}x2sHH4sH")
# Version … flow label; next header, hop limit.
_IPV6 = Struct(f"!{VNET_LENGTH}x4s2x2s")
# Sequence; acknowledgement and data offset; flags; window; checksum; urgent pointer.
_TCP = Struct("!4xI5sB2sH2s")
_UDP = Struct("!4xHH")

# What joining compares of a packet: the bytes that are equal in all of a run, the IPv4 identification (IPv6: 0), the
# TCP sequence (UDP: 0), the flags that may differ, and the sum of the IPv4 header's varying fields.
_Piece = tuple[tuple[bytes | int, ...], int, int, int, int]


class _Run:
    """Packets that will be one, if their checksums verify."""

    __slots__ = ("flags", "ip_sum", "length", "number", "open", "packets", "payload", "room", "same", "sequence")

    def __init__(self, packet: Packet, piece: _Piece, payload: int) -> None:
        header = packet.header
        self.packets = [packet]
        self.payload = payload
        self.length = header.length
        self.same, self.number, self.sequence, self.flags, self.ip_sum = piece
        self.room = MAX_UDP_JOINED if header.protocol == UDP else MAX_TCP_JOINED
        self._advance(header, payload)

    def takes(self, packet: Packet, piece: _Piece, payload: int) -> bool:
        """Add the packet if it is the run's next segment."""
        same, number, sequence, flags, ip_sum = piece
        if (
            not self.open
            or sequence != self.sequence
            or number != self.number
            or same != self.same
            or payload > self.payload
            or ip_sum != self.ip_sum
            or flags & CWR
            or self.length + payload > MAX_LENGTH
            or packet.session is not self.packets[0].session
        ):
            return False
        self.packets.append(packet)
        self.length += payload
        self.flags = flags
        self._advance(packet.header, payload)
        return True

    def _advance(self, header: Header, payload: int) -> None:
        """What the next segment must have. FIN, PSH and a shorter payload end the run."""
        if header.version == 4:
            self.number = self.number + 1 & 0xFFFF
        if header.protocol == TCP:
            self.sequence = self.sequence + payload & 0xFFFFFFFF
        self.open = payload == self.payload and not self.flags & (FIN | PSH) and len(self.packets) < self.room

    def build(self) -> list[Packet]:
        """The super-packet; what does not verify parts the run and stands alone."""
        if len(self.packets) == 1:
            return self.packets
        valid = _verify(self.packets)
        if all(valid):
            return [_join(self.packets)]
        parts: list[list[Packet]] = []
        previous = False
        for packet, good in zip(self.packets, valid, strict=True):
            if good and previous:
                parts[-1].append(packet)
            else:
                parts.append([packet])
            previous = good
        return [_join(part) if len(part) > 1 else part[0] for part in parts]


def coalesce(packets: Sequence[Packet], join: frozenset[str] = JOIN_ALL) -> list[Packet]:
    """The packets with runs of a flow joined. `join`: which kinds may be, of tcp4, tcp6, udp4, udp6.

    The order inside a flow stays; a super-packet stands where its first packet stood. Raises BadPacket for a
    malformed packet: check before."""
    if len(packets) < 2 or not join:
        return list(packets)
    out: list[Packet | _Run] = []
    runs: dict[tuple[int, bytes], _Run] = {}
    for packet in packets:
        frame, header = packet.frame, packet.header
        version, protocol, l4, header_length, length = header[:5]
        if protocol not in (TCP, UDP):
            out.append(packet)
            continue
        if l4 != (20 if version == 4 else 40) or header.is_fragment or not _is_lone(frame, l4, protocol):
            # It may belong to any flow between its addresses: nothing that follows may overtake it.
            runs.clear()
            out.append(packet)
            continue
        # Addresses and ports lie side by side.
        flow = (protocol, frame[22:34] if version == 4 else frame[18:54])
        payload = length - header_length
        piece = _piece(frame, header, payload) if payload and kind_of(header) in join else None
        if piece is None:
            runs.pop(flow, None)
            out.append(packet)
            continue
        run = runs.get(flow)
        if run is None or not run.takes(packet, piece, payload):
            run = runs[flow] = _Run(packet, piece, payload)
            out.append(run)
    joined: list[Packet] = []
    for entry in out:
        if isinstance(entry, _Run):
            joined += entry.build()
        else:
            joined.append(entry)
    return joined


def _is_lone(frame: bytes, l4: int, protocol: int) -> bool:
    """A single packet with a finished checksum, or with a partial one of its own L4 header."""
    if frame.startswith(PLAIN_VNET):
        return True
    flags, gso_type, _, _, start, offset = VNET.unpack_from(frame)
    return flags == NEEDS_CSUM and not gso_type and start == l4 and offset == CSUM_OFFSET[protocol]


def _piece(frame: bytes, header: Header, payload: int) -> _Piece | None:
    """What to compare of a packet without IP options and extension headers; None: it stands alone.

    A checksum may be valid and still not what the kernel writes (UDP without one; zero as 0xFFFF in TCP and IPv4)."""
    same: tuple[bytes | int, ...]
    number = ip_sum = 0
    if header.version == 4:
        at = VNET_LENGTH + 20
        first, length, number, rest, check = _IPV4.unpack_from(frame)
        if check == 0xFFFF:
            return None
        same = (first, rest)
        ip_sum = (length + number + check) % 65535
    else:
        at = VNET_LENGTH + 40
        same = _IPV6.unpack_from(frame)
    if header.protocol == UDP:
        size, check = _UDP.unpack_from(frame, at)
        if size != payload + 8:
            return None
        if frame[0]:
            return (*same, (check - size) % 65535), number, 0, 0, ip_sum
        return (same, number, 0, 0, ip_sum) if check else None
    sequence, ack, flags, window, check, urgent = _TCP.unpack_from(frame, at)
    if not flags & _ACK or flags & ~_JOINABLE:
        return None
    options = frame[at + 20 : VNET_LENGTH + header.header_length]
    if frame[0]:
        options += ((check + header.l4_offset - header.length) % 65535).to_bytes(2, "big")
    elif check == 0xFFFF:
        return None
    return (*same, ack, flags & ~_VARIABLE, window, urgent, options), number, sequence, flags, ip_sum


def _verify(packets: list[Packet]) -> list[bool]:
    """Whether each packet of a run has a valid L4 checksum; for IPv4 the header's too, where the first packet's
    vouches for the others', which have the same sum.

    Addresses and L4 header lie side by side: one sum covers both. All packets but the last have one length."""
    first, last = packets[0], packets[-1]
    header = first.header
    at = VNET_LENGTH + (12 if header.version == 4 else 8)
    if header.version == 4 and ones_sum(first.frame[VNET_LENGTH : VNET_LENGTH + 20]):
        return [False] * len(packets)
    if first.frame[0]:
        return [True] * len(packets)  # `_piece` has compared what there is to compare
    sums = ones_sums([packet.frame[at:] for packet in packets[:-1]])
    target = -(header.protocol + header.length - header.l4_offset) % 65535
    valid = [total == target for total in sums]
    final = ones_sum(last.frame[at:]) + header.protocol + last.header.length - header.l4_offset
    valid.append(final % 65535 == 0)
    return valid


def _join(packets: list[Packet]) -> Packet:
    first, last, header = packets[0], packets[-1], packets[0].header
    cut, flags = VNET_LENGTH + header.header_length, VNET_LENGTH + header.l4_offset + 13
    payloads = [packet.frame[cut:] for packet in packets]
    more = last.frame[flags] if header.protocol == TCP else 0
    return Packet(super_frame(first.frame, header, payloads, more), first.session)


def super_frame(first: bytes, header: Header, payloads: Sequence[bytes], flags: int = 0) -> bytes:
    """One super-packet with a partial checksum, as a TUN takes it: `payloads` behind the headers of the frame `first`,
    in which `header` was found. `flags` are those of TCP's last segment."""
    cut, l4 = VNET_LENGTH + header.header_length, VNET_LENGTH + header.l4_offset
    length = header.header_length + sum(map(len, payloads))
    head = bytearray(first[:cut])
    if header.version == 4:
        head[12:14] = length.to_bytes(2, "big")
        head[20:22] = b"\0\0"
        head[20:22] = checksum(head[10:30]).to_bytes(2, "big")
        gso_type, addresses = GSO_TCPV4, head[22:30]
    else:
        head[14:16] = (length - 40).to_bytes(2, "big")
        gso_type, addresses = GSO_TCPV6, head[18:50]
    if header.protocol == TCP:
        head[l4 + 13] |= flags
        gso_type |= GSO_ECN if head[l4 + 13] & CWR else 0
    else:
        gso_type = GSO_UDP_L4
        head[l4 + 4 : l4 + 6] = (length - header.l4_offset).to_bytes(2, "big")
    offset = CSUM_OFFSET[header.protocol]
    if first[0]:
        partial = (int.from_bytes(head[l4 + offset : l4 + offset + 2], "big") + length - header.length) % 65535
    else:
        partial = (ones_sum(addresses) + header.protocol + length - header.l4_offset) % 65535
    head[l4 + offset : l4 + offset + 2] = partial.to_bytes(2, "big")
    VNET.pack_into(head, 0, NEEDS_CSUM, gso_type, header.header_length, len(payloads[0]), header.l4_offset, offset)
    return b"".join((head, *payloads))
