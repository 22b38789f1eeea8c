"""A test stage, tun-side, 1 → n: super-packets become segments, lone UDP packets two of half the payload."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Direction, Out, Packet
from vpnrs_core.testkit.packets import udp


class Split:
    def matches(self) -> None:
        return None

    def process(self, direction: Direction, batch: Any, out: Out, now: float) -> None:
        for packet in batch:
            payload = packet.data[packet.header_length :]
            if packet.segments > 1:
                out.forward(packet, *packet.split(1))
            elif packet.protocol == 17 and len(payload) > 1:
                middle = len(payload) // 2
                out.forward(packet, self.part(packet, payload[:middle]), self.part(packet, payload[middle:]))
            else:
                out.forward(packet)

    def part(self, packet: Packet, payload: bytes) -> Packet:
        ports = packet.data[packet.l4_offset : packet.l4_offset + 4]
        sport, dport = int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big")
        return Packet.of(
            udp(str(ip_address(packet.src)), str(ip_address(packet.dst)), payload, sport=sport, dport=dport)
        )

    def on_wake(self, now: float, out: Out) -> None: ...


class Factory:
    NAME = "split"
    ORDER = 200

    def tun(self, wake_at: Any) -> Split:
        return Split()


class Plugin:
    def __init__(self, config: Any = None, ctx: Any = None) -> None: ...

    @impl
    def vpnrs_register_packet_stages(self) -> list[Factory]:
        return [Factory()]
