"""Link schedulers: which link of a session carries a packet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.transport import Link
from vpnrs_core.packet.packet import Packet


class LinkScheduler(Protocol):
    """Called for every batch that leaves a session's queue. It must be quick: nothing else runs meanwhile."""

    NAME: ClassVar[str]

    def assign(self, batch: Sequence[Packet], links: Sequence[Link], now: Seconds) -> Iterable[tuple[Link, Packet]]:
        """Yield (link, packet); a packet may be yielded for several links. `links` is never empty, in
        the order of opening. A packet that is yielded for none is dropped as `no_link`; raising drops what was not
        yielded yet as `plugin_error`."""
