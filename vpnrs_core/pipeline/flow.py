"""One flow of a session's queue: its packets in order, its deficit, and its CoDel state (RFC 8289, 8290)."""

from __future__ import annotations

from collections import deque
from math import sqrt

from vpnrs_core.packet.header import TCP, UDP, VNET_LENGTH
from vpnrs_core.packet.packet import Packet

INTERVAL = 0.1  # seconds, RFC 8289 §4.3

_V4 = slice(VNET_LENGTH + 12, VNET_LENGTH + 24)
_V6 = slice(VNET_LENGTH + 8, VNET_LENGTH + 44)

FlowKey = tuple[int, bytes] | int


def flow_key(packet: Packet) -> FlowKey:
    """Protocol, addresses and ports. Fragments have no ports, so that all of one packet stay in order."""
    header = packet.header
    protocol = header.protocol
    if protocol in (TCP, UDP) and not (header.fragment_offset or header.more_fragments):
        l4 = header.l4_offset
        if l4 == 20:
            return protocol, packet.frame[_V4]
        if l4 == 40 and header.version == 6:
            return protocol, packet.frame[_V6]
        at = VNET_LENGTH + l4
        return protocol, header.source + header.destination + packet.frame[at : at + 4]
    return protocol, header.source + header.destination


class Flow:
    """`packets` holds (packet, arrival, bytes). CoDel's variables have the RFC's names."""

    __slots__ = ("bytes", "count", "deficit", "drop_next", "dropping", "first_above", "key", "last_count", "packets")

    def __init__(self, key: FlowKey) -> None:
        self.key = key
        self.packets: deque[tuple[Packet, float, int]] = deque()
        self.bytes = 0
        self.deficit = 0
        self.first_above = 0.0
        self.drop_next = 0.0
        self.dropping = False
        self.count = 0
        self.last_count = 0

    def codel(self, now: float) -> bool:
        """Whether the head is to be dropped. Asked only while the head has waited longer than the target and more
        than one segment waits; who finds otherwise calls `relax`."""
        if not self.first_above:
            self.first_above = now + INTERVAL
            return False
        if now < self.first_above:
            return False
        if self.dropping:
            if now < self.drop_next:
                return False
            self.count += 1
            self.drop_next += INTERVAL / sqrt(self.count)
            return True
        self.dropping = True
        # Soon after the last dropping phase, go on at the rate that controlled it (RFC 8289 §5.4).
        delta = self.count - self.last_count
        self.count = delta if delta > 1 and now - self.drop_next < 16 * INTERVAL else 1
        self.drop_next = now + INTERVAL / sqrt(self.count)
        self.last_count = self.count
        return True

    def relax(self) -> None:
        """The head waited less than the target: no standing queue."""
        self.first_above = 0.0
        self.dropping = False
