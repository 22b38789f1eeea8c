"""Packet: one IP packet, or one GSO super-packet of up to 64 KiB, with its vnet header.

A packet is immutable to everyone but its maker. Its bytes are one object, `frame`: the 10-byte vnet header and
the IP packet behind it, exactly as a TUN with IFF_VNET_HDR reads and writes them, so that 64 KiB go from one TUN
to the other without being copied for a header's sake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpnrs_core.interfaces.session import Session

VNET_LENGTH = 10
PLAIN_VNET = bytes(VNET_LENGTH)


class Packet:
    """`frame` is vnet header plus IP packet; `session` is the one an ingress packet came from, None on egress."""

    __slots__ = ("frame", "session")

    def __init__(self, frame: bytes, session: Session | None = None) -> None:
        self.frame = frame
        self.session = session

    @classmethod
    def of(cls, data: bytes, session: Session | None = None, vnet: bytes = PLAIN_VNET) -> Packet:
        """From an IP packet without vnet header."""
        return cls(vnet + data, session)

    @property
    def data(self) -> bytes:
        """The IP packet, copied out of the frame."""
        return self.frame[VNET_LENGTH:]

    @property
    def vnet(self) -> bytes:
        return self.frame[:VNET_LENGTH]
