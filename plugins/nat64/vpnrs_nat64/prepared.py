"""The fast path's own memory: sessions whose packets need no decision, each with its prepared translation.

Bounded, and apart from the state: a session that is idle, or has had one packet only, costs nothing here.
"""

from __future__ import annotations

from vpnrs_core.packet.header import TCP, UDP
from vpnrs_nat64.state.model import Client
from vpnrs_nat64.state.records import Session
from vpnrs_nat64.translate.fast import Rewriter

# Of each direction. What does not fit takes the slow path, which is slower, not wrong.
MOST = 16_384


class Prepared:
    """Holds as long as the session is `ready`, and the client's `lease` of that time `open`."""

    __slots__ = ("lease", "owner", "rewrite", "session", "touched")

    def __init__(self, session: Session, client: Client, rewriter: Rewriter) -> None:
        self.session = session.raw
        self.lease = client.lease
        self.owner = client.owner
        self.rewrite = rewriter.rewrite
        # When the session's deadline was put off last: once a turn is enough.
        self.touched = 0.0


class Direction:
    """By protocol and by the bytes of addresses and ports, as the packet has them."""

    def __init__(self, most: int = MOST) -> None:
        self.by_protocol: dict[int, dict[bytes, Prepared]] = {TCP: {}, UDP: {}}
        self._most = most

    def put(self, protocol: int, key: bytes, prepared: Prepared) -> None:
        """The oldest of the protocol goes when there are too many."""
        table = self.by_protocol[protocol]
        table.pop(key, None)
        if len(table) >= self._most:
            del table[next(iter(table))]
        table[key] = prepared

    def drop(self, protocol: int, key: bytes) -> None:
        self.by_protocol[protocol].pop(key, None)
