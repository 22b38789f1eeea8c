"""The offload codec: a packet with the vnet header that its TUN gave it, so that its checksum may stay partial.

QUIC's AEAD protects the bytes on their way; the other side's kernel finishes the checksum, or never needs to. On a
stream lane, whose payloads may have 64 KiB, super-packets travel whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from vpnrs_core.packet.checks import check_partial_checksum, check_super_packet, check_udp_length
from vpnrs_core.packet.coalesce import coalesce
from vpnrs_core.packet.cut import split_evenly
from vpnrs_core.packet.header import BadPacket, examine
from vpnrs_core.packet.kinds import kind_of, within
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.vnet import MAX_TCP_SEGMENTS, NEEDS_CSUM, PLAIN_VNET, VNET, VNET_LENGTH, normalise


class _Offload:
    """One link's codec, without state. `whole`: super-packets may travel."""

    def __init__(self, own: frozenset[str], peer: frozenset[str], whole: bool) -> None:
        self._own = own
        self._peer = peer
        self._whole = whole

    def encode(self, packet: Packet, max_payload: int, head: bytes = b"") -> list[bytes] | None:
        """The packet behind its vnet header; None: too large, of a kind that the peer does not accept, a packet with a
        finished checksum, or a super-packet where those may not travel."""
        frame = packet.frame
        if frame[1]:
            return self._encode_super(packet, max_payload, head) if self._whole else None
        if not frame[0] & NEEDS_CSUM or len(frame) > max_payload:
            return None
        header = packet.header
        if kind_of(header) not in self._peer:
            return None
        flags, _, _, _, start, offset = VNET.unpack_from(frame)
        try:
            check_partial_checksum(header, flags, start, offset)
        except BadPacket:
            return None  # an inner checksum, of a tunnel in this tunnel: finished here, as the peer would not take it
        return [head + _lone(frame, header.header_length, start, offset)]

    def _encode_super(self, packet: Packet, max_payload: int, head: bytes) -> list[bytes] | None:
        parts = split_evenly(packet)
        if kind_of(packet.header) not in self._peer or max(len(part.frame) for part in parts) > max_payload:
            return None
        return [head + normalise(part.frame, packet.header_length) for part in parts]

    def decode(self, payloads: Sequence[bytes], drop: Callable[[str], None], skip: int = 0) -> list[Packet]:
        """The packets, runs of a flow joined. What breaks a rule of docs/wire.md is dropped as `bad_offload`."""
        packets = []
        for payload in payloads:
            try:
                packets.append(self._accept(payload[skip:]))
            except BadPacket:
                drop("bad_offload")
        return within(coalesce(packets, self._own), self._own)

    def _accept(self, payload: bytes) -> Packet:
        """Judge a payload (docs/wire.md, Accept). Raises BadPacket."""
        header = examine(payload)
        flags, gso_type, _, gso_size, start, offset = VNET.unpack_from(payload)
        if gso_type:
            if not self._whole:
                raise BadPacket("super-packet on a datagram lane")
            check_super_packet(header, flags, gso_type, gso_size, start, offset)
            check_udp_length(payload, VNET_LENGTH, header)
            if header.payload_length > gso_size * MAX_TCP_SEGMENTS:
                raise BadPacket("too many segments")
            return Packet.examined(normalise(payload, header.header_length), header)
        if not flags & NEEDS_CSUM:
            return Packet.examined(PLAIN_VNET + payload[VNET_LENGTH:], header)
        check_partial_checksum(header, flags, start, offset)
        return Packet.examined(_lone(payload, header.header_length, start, offset), header)


def _lone(frame: bytes, header_length: int, start: int, offset: int) -> bytes:
    """The frame of a single packet with a partial checksum, its vnet header normalised."""
    vnet = VNET.pack(NEEDS_CSUM, 0, header_length, 0, start, offset)
    return frame if frame.startswith(vnet) else vnet + frame[VNET_LENGTH:]


class OffloadCodec:
    """Context id 2, tried first."""

    NAME: ClassVar[str] = "offload"
    PREFERENCE: ClassVar[int] = 30

    def open(self, own_offloads: frozenset[str], peer_offloads: frozenset[str], lane: str = "datagram") -> _Offload:
        """A codec object. What the peer accepts is sent; anything is received, and segmented if the own TUN needs
        that."""
        return _Offload(own_offloads, peer_offloads, lane == "stream")
