"""The scheduler for sessions with one link at a time: everything goes to the newest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.transport import Link
from vpnrs_core.packet.packet import Packet


class SingleLinkScheduler:
    """`links` is in the order of opening, live ones only: while a reconnected client's old link has not timed out
    yet, the newest is the one known to work."""

    NAME: ClassVar[str] = "single"

    def assign(self, batch: Sequence[Packet], links: Sequence[Link], now: Seconds) -> Iterable[tuple[Link, Packet]]:
        newest = links[-1]
        return [(newest, packet) for packet in batch]
