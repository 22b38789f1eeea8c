"""The segments codec: a super-packet travels as pieces of itself and arrives as one, no header or checksum computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from vpnrs_core.packet.cut import cut, payload_size
from vpnrs_core.packet.join import join
from vpnrs_core.packet.kinds import kind_of, within
from vpnrs_core.packet.packet import Packet


class _Segments:
    """One link's codec, without state: what a batch does not bring together stays apart."""

    def __init__(self, own: frozenset[str], peer: frozenset[str]) -> None:
        self._own = own
        self._peer = peer

    def encode(self, packet: Packet, max_payload: int, head: bytes = b"") -> list[bytes] | None:
        """One payload a segment; None: not a super-packet, of a kind that the peer does not accept, or too large."""
        if not packet.frame[1] or payload_size(packet) > max_payload or kind_of(packet.header) not in self._peer:
            return None
        return cut(packet, head)

    def decode(self, payloads: Sequence[bytes], drop: Callable[[str], None], skip: int = 0) -> list[Packet]:
        """Super-packets, or segments where the own TUN has no offload for their kind. What breaks a rule of
        docs/wire.md is dropped as `bad_offload`."""
        return within(join(payloads, partial(drop, "bad_offload"), skip), self._own)


class SegmentsCodec:
    """Context id 4. Tried after `offload`, which on a stream lane carries super-packets whole."""

    NAME: ClassVar[str] = "segments"
    PREFERENCE: ClassVar[int] = 20
    OVERHEAD: ClassVar[int] = 11

    def open(self, own_offloads: frozenset[str], peer_offloads: frozenset[str], lane: str = "datagram") -> _Segments:
        """A codec object. What the peer accepts is sent; anything is received, and segmented if the own TUN needs
        that."""
        return _Segments(own_offloads, peer_offloads)
