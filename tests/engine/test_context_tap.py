"""A plugin whose tap fails loses its tap, and nobody a packet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vpnrs_core.events import PluginFailed
from vpnrs_core.interfaces import Direction, Packet
from vpnrs_core.testkit.inprocess import running
from vpnrs_core.testkit.packets import udp


async def test_a_tap_that_raises_ends_and_the_packets_go_on(tmp_path: Path) -> None:
    async with running(tmp_path) as pair:
        seen: list[tuple[str, Direction]] = []

        def fail(point: str, direction: Direction, packet: Packet | None, reason: str) -> None:
            seen.append((point, direction))
            raise ValueError("a decoder that met a packet it does not know")

        (session,) = pair.server.sessions()
        context: Any = pair.server._context("kit_anyone")
        end = context.tap(session.id, fail)
        packets = [udp(pair.addresses[0], "198.51.100.7", bytes([number])) for number in range(5)]
        assert await pair.up(*packets) == packets
        assert seen == [("link", Direction.INGRESS)]
        failed = await pair.server.until(PluginFailed, lambda event: event.plugin == "kit_anyone")
        assert failed.hook == "tap"
        end()
        context.tap(session.id, lambda *_: None)()  # there is room for another
        assert await pair.up(*packets) == packets
