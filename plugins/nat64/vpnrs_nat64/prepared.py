"""The fast path's own memory: sessions whose packets need no decision, each with its prepared translation.

Bounded, and apart from the state: a session that is idle, or has had one packet only, costs nothing here. Each one here
costs the garbage collector two objects to walk over, its rewriter and a header, so there are not many.
"""

from __future__ import annotations

from vpnrs_core.packet.header import TCP, UDP
from vpnrs_nat64.state.model import Client
from vpnrs_nat64.state.records import Session
from vpnrs_nat64.translate.fast import Rewriter

# Of each direction and protocol. What does not fit takes the slow path, which is slower, not wrong.
MOST = 4096
# Seconds without a packet after which another session may have the place.
_IDLE = 1.0


class Direction:
    """By protocol and by the bytes of addresses and ports, as the packet has them. A rewriter here holds as long as its
    session is `ready`, and its `lease`, the client's of that time, `open`."""

    def __init__(self, most: int = MOST) -> None:
        self.by_protocol: dict[int, dict[bytes, Rewriter]] = {TCP: {}, UDP: {}}
        self._most = most

    def has_room(self, protocol: int, key: bytes, now: float) -> bool:
        """Whether `put` may be called. When there are too many, one that has been idle goes; one that was not is asked
        again when it comes round, so that more busy sessions than fit do not push each other out with every packet."""
        table = self.by_protocol[protocol]
        if len(table) < self._most or key in table:
            return True
        other, oldest = next(iter(table.items()))
        del table[other]
        if now - oldest.touched >= _IDLE:
            return True
        table[other] = oldest
        return False

    def put(self, protocol: int, key: bytes, session: Session, client: Client, rewriter: Rewriter) -> None:
        """`rewriter` is for packets of this session."""
        rewriter.session, rewriter.lease, rewriter.owner = session.raw, client.lease, client.owner
        self.by_protocol[protocol][key] = rewriter

    def drop(self, protocol: int, key: bytes) -> None:
        self.by_protocol[protocol].pop(key, None)
