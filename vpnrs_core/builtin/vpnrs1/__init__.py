"""The built-in session protocol `vpnrs/1`: the handshake tables of session/ over a connection's streams."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import ClassVar

from vpnrs_core.builtin.vpnrs1.client import ClientSide
from vpnrs_core.builtin.vpnrs1.server import ServerSide
from vpnrs_core.interfaces.common import Refuse
from vpnrs_core.interfaces.protocol import ClientLink, ClientRequest, Gate
from vpnrs_core.interfaces.transport import Connection
from vpnrs_core.wire.codepoints import ALPN


class VpnrsProtocol:
    """Stateless: one object serves all connections. `random(n)` makes nonces."""

    NAME: ClassVar[str] = "vpnrs/1"
    ALPNS: ClassVar[Sequence[str]] = (ALPN,)
    WANTS: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random

    async def serve(self, connection: Connection, gate: Gate) -> None:
        """Returns when the connection has ended. Raises nothing but CancelledError, after the peer was told."""
        side = ServerSide(connection, gate, self._random)
        connection.listen(side)
        await side.run()

    async def request(self, connection: Connection, wish: ClientRequest, link: ClientLink) -> Refuse | None:
        """See interfaces.SessionProtocol. The stream lane is asked for by itself where datagrams are missing."""
        side = ClientSide(connection, wish, link, self._random)
        connection.listen(side)
        return await side.run()


__all__ = ["VpnrsProtocol"]
