"""A test stage, peer-side, n → 1 and later: UDP packets wait 50 ms, then those of a direction and flow leave as one."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Direction, Out, Packet
from vpnrs_core.testkit.packets import udp

DELAY = 0.05


class Hold:
    def __init__(self, wake_at: Any) -> None:
        self.wake_at = wake_at
        self.waiting: dict[tuple[Direction, bytes], list[Packet]] = {}
        self.refused = 0
        self.closed: list[str] = []

    def matches(self) -> None:
        return None

    def process(self, direction: Direction, batch: Any, out: Out, now: float) -> None:
        for packet in batch:
            if packet.protocol != 17:
                out.forward(packet)
            elif out.hold(packet):
                key = direction, packet.src + packet.dst + packet.data[packet.l4_offset : packet.l4_offset + 4]
                self.waiting.setdefault(key, []).append(packet)
                self.wake_at(now + DELAY)
            else:
                self.refused += 1

    def on_wake(self, now: float, out: Out) -> None:
        waiting, self.waiting = self.waiting, {}
        for (_, flow), parts in waiting.items():
            first = parts[0]
            joined = udp(
                str(ip_address(first.src)),
                str(ip_address(first.dst)),
                b"".join(part.data[part.header_length :] for part in parts),
                sport=int.from_bytes(flow[-4:-2], "big"),
                dport=int.from_bytes(flow[-2:], "big"),
            )
            out.forward(parts, Packet.of(joined))

    def close(self, reason: str) -> None:
        self.closed.append(reason)


class Factory:
    NAME = "hold"
    ORDER = 100

    def __init__(self) -> None:
        self.made: dict[str, Hold] = {}

    def bind(self, session: Any, wake_at: Any) -> Hold:
        self.made[session.id] = Hold(wake_at)
        return self.made[session.id]


class Plugin:
    def __init__(self, config: Any = None, ctx: Any = None) -> None: ...

    @impl
    def vpnrs_register_packet_stages(self) -> list[Factory]:
        return [Factory()]
