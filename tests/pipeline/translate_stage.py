"""A test stage, tun-side, that changes header lengths: IPv6 clients reach IPv4 through 64:ff9b::/96, stateless.

Client fd00::x appears as 192.0.2.x. TCP and UDP without options or extension headers, super-packets as they are.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Direction, Matches, Out, Packet
from vpnrs_core.packet.checksum import checksum, ones_sum, update

PREFIX = IPv6Address("64:ff9b::").packed[:12]
CLIENTS = IPv6Address("fd00::").packed[:15]
POOL = IPv4Address("192.0.2.0").packed[:3]
CHECKSUM_AT = {6: 16, 17: 6}


def l4_header(packet: Packet, src: bytes, dst: bytes) -> bytes:
    """The L4 header with its checksum, partial or complete, moved to the new addresses."""
    head = bytearray(packet.data[packet.l4_offset : packet.header_length])
    at = CHECKSUM_AT[packet.protocol]
    old, was, becomes = int.from_bytes(head[at : at + 2], "big"), packet.src + packet.dst, src + dst
    if packet.needs_csum:
        new = (old - ones_sum(was) + ones_sum(becomes)) % 65535
    else:
        new = update(old, ones_sum(was), ones_sum(becomes))
    head[at : at + 2] = new.to_bytes(2, "big")
    return bytes(head)


def to_v4(packet: Packet) -> Packet:
    src, dst = POOL + packet.src[15:], packet.dst[12:]
    length = len(packet.data) - 20
    head = bytearray(b"\x45\0" + length.to_bytes(2, "big") + b"\0\0\x40\0\x40" + bytes((packet.protocol, 0, 0)))
    head += src + dst
    head[10:12] = checksum(head).to_bytes(2, "big")
    return packet.replace_headers(bytes(head) + l4_header(packet, src, dst))


def to_v6(packet: Packet) -> Packet:
    src, dst = PREFIX + packet.src, CLIENTS + packet.dst[3:]
    payload = len(packet.data) - packet.l4_offset
    head = b"\x60\0\0\0" + payload.to_bytes(2, "big") + bytes((packet.protocol, 64)) + src + dst
    return packet.replace_headers(head + l4_header(packet, src, dst))


class Translate:
    def matches(self) -> Matches:
        return Matches(ingress_dst=[ip_network("64:ff9b::/96")], egress_dst=[ip_network("192.0.2.0/24")])

    def process(self, direction: Direction, batch: Any, out: Out, now: float) -> None:
        for packet in batch:
            if packet.protocol not in CHECKSUM_AT:
                out.drop(packet, "malformed")
            elif direction is Direction.EGRESS:
                out.forward(packet, to_v6(packet))
            elif packet.dst[12:15] == POOL:
                out.inject(Direction.EGRESS, to_v6(to_v4(packet)), cause=packet)
            else:
                out.forward(packet, to_v4(packet))

    def on_wake(self, now: float, out: Out) -> None: ...


class Factory:
    NAME = "translate"
    ORDER = 300

    def tun(self, wake_at: Any) -> Translate:
        return Translate()


class Plugin:
    def __init__(self, config: Any = None, ctx: Any = None) -> None: ...

    @impl
    def vpnrs_register_packet_stages(self) -> list[Factory]:
        return [Factory()]
