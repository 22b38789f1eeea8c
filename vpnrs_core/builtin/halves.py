"""The halves codec: an IPv6 packet that may not be refused, and does not fit one datagram, travels in two.

IPv6 knows no link that carries fewer than 1280 bytes: one that does must divide and join packets itself (RFC 8200
section 5). QUIC's smallest paths are such links once its own headers are taken off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import ClassVar

from vpnrs_core.packet.coalesce import coalesce
from vpnrs_core.packet.header import BadPacket
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment

# Packets larger than this get Packet Too Big, and their senders make smaller ones.
LARGEST = 1280
# First halves, or second ones, that wait for the other.
MOST_WAITING = 64
_HEAD = Struct("!HB")
_TCP = 6


class _Halves:
    """One link's codec. `number` counts the packets that were divided."""

    def __init__(self, join: frozenset[str]) -> None:
        self._join = join
        self._number = 0
        self._waiting: dict[int, tuple[int, bytes]] = {}

    def encode(self, packet: Packet, max_payload: int, head: bytes = b"") -> list[bytes] | None:
        """Two payloads a packet. None: it is IPv4, too large, or can be cut smaller (TCP)."""
        if packet.version != 6 or packet.largest_segment > LARGEST or (packet.frame[1] and packet.protocol == _TCP):
            return None
        payloads = []
        for ip in segment(packet):
            middle = -(-len(ip) // 2)
            if _HEAD.size + middle > max_payload:
                return None
            self._number = (self._number + 1) & 0xFFFF
            payloads.append(head + _HEAD.pack(self._number, 0) + ip[:middle])
            payloads.append(head + _HEAD.pack(self._number, 1) + ip[middle:])
        return payloads

    def decode(self, payloads: Sequence[bytes], drop: Callable[[str], None], skip: int = 0) -> list[Packet]:
        """The packets whose halves are both there, in the order in which that came to be. What makes no sound IPv6
        packet of at most 1280 bytes is dropped as `malformed`, and so is a half whose other does not come."""
        packets = []
        for payload in payloads:
            whole = self._join_halves(payload, skip, drop)
            if whole is None:
                continue
            packet = Packet.of(whole)
            try:
                sound = packet.version == 6 and packet.header.length <= LARGEST
            except BadPacket:
                sound = False
            if sound:
                packets.append(packet)
            else:
                drop("malformed")
        return coalesce(packets, self._join)

    def _join_halves(self, payload: bytes, skip: int, drop: Callable[[str], None]) -> bytes | None:
        start = skip + _HEAD.size
        if not start < len(payload) <= start + LARGEST:
            drop("malformed")
            return None
        number, place = _HEAD.unpack_from(payload, skip)
        other = self._waiting.pop(number, None)
        if other is not None and other[0] == 1 - place:
            parts = (payload[start:], other[1])
            return b"".join(parts if place == 0 else reversed(parts))
        if place > 1 or other is not None:
            drop("malformed")
        if place <= 1:
            self._waiting[number] = (place, payload[start:])
        if len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
            drop("malformed")
        return None


class HalvesCodec:
    """Context id 6, tried after all others."""

    NAME: ClassVar[str] = "halves"
    PREFERENCE: ClassVar[int] = -10

    def open(self, own_offloads: frozenset[str], peer_offloads: frozenset[str], lane: str = "datagram") -> _Halves:
        """A codec object. Packets are joined into what the own TUN takes."""
        return _Halves(own_offloads)
