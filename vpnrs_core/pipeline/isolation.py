"""Isolation between clients, judged on packets as they leave the last stage: no translation gets around it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vpnrs_core.interfaces.common import Address, Network
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.prefix import PrefixTable
from vpnrs_core.pipeline.routing import Routes

if TYPE_CHECKING:
    from vpnrs_core.pipeline.peer import Peer


class Isolation:
    """`enabled` may change at any time. With it off, a packet to another client goes to the TUN like any other, and
    the kernel routes it back."""

    def __init__(
        self, enabled: bool, pools: Iterable[Network], own_addresses: Iterable[Address], routes: Routes[Peer]
    ) -> None:
        self.enabled = enabled
        self._pools: PrefixTable[bool] = PrefixTable()
        for pool in pools:
            self._pools.add(pool, True)
        # The server's own addresses lie in its pools, and every client may speak to the server.
        for address in own_addresses:
            self._pools.add(f"{address}/{address.max_prefixlen}", False)
        self._routes = routes

    def to_tun(self, packet: Packet) -> bool:
        """Whether the packet may be written to the TUN: its destination is no other client's, nor a free address of
        a pool (who learns which are free learns who is there)."""
        if not self.enabled:
            return True
        destination = packet.header.destination
        owner = self._routes.get(destination, None)
        if owner is not None:
            return owner.session is packet.session
        return not self._pools.get(destination, False)

    def to_peer(self, packet: Packet, peer: Peer) -> bool:
        """Whether the packet may go to the peer. Only what was injected because of an ingress packet has a session
        here; what the TUN gave has none."""
        return packet.session is None or not self.enabled or packet.session is peer.session
