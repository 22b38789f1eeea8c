"""The plain codec: each payload is one complete IP packet, as in RFC 9484. What every peer understands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from vpnrs_core.packet.coalesce import coalesce
from vpnrs_core.packet.header import BadPacket
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment


class _Plain:
    """One link's codec, without state."""

    def __init__(self, join: frozenset[str]) -> None:
        self._join = join

    def encode(self, packet: Packet, max_payload: int, head: bytes = b"") -> list[bytes] | None:
        """The packet's segments with finished checksums; None when one is larger than `max_payload`."""
        if packet.largest_segment > max_payload:
            return None
        return list(map(head.__add__, segment(packet)))

    def decode(self, payloads: Sequence[bytes], drop: Callable[[str], None], skip: int = 0) -> list[Packet]:
        """The packets, runs of a flow joined. What is no sound IP packet is dropped as `malformed`."""
        packets = []
        for payload in payloads:
            packet = Packet.of(payload[skip:])
            try:
                packet.examine()
            except BadPacket:
                drop("malformed")
            else:
                packets.append(packet)
        return coalesce(packets, self._join)


class PlainCodec:
    """Context id 0, tried last."""

    NAME: ClassVar[str] = "plain"
    PREFERENCE: ClassVar[int] = 0

    def open(self, own_offloads: frozenset[str], peer_offloads: frozenset[str], lane: str = "datagram") -> _Plain:
        """A codec object. Packets are joined into what the own TUN takes; whatever the peer accepts, complete packets
        are what it gets."""
        return _Plain(own_offloads)
