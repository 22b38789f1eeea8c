"""The segment that asks a client whether a silent connection is still there (RFC 6146 section 3.5.2.2)."""

from __future__ import annotations

from struct import Struct

from vpnrs_core.packet.checksum import finish, ones_sum, pseudo_sum
from vpnrs_core.packet.header import TCP
from vpnrs_core.packet.packet import Packet
from vpnrs_nat64.state.records import Session, port_of
from vpnrs_nat64.translate.prefix import Prefix

_TCP = Struct("!HHIIBBHHH")
_IPV6 = Struct("!IHBB16s16s")
_ACK = 0x10
_HOP_LIMIT = 64


def probe(session: Session, prefix: Prefix) -> Packet:
    """An ACK with sequence and acknowledgement number 0 and no data, in the remote's name. A client that has the
    connection answers with an ACK of its own, one that has not with RST: either tells."""
    inner, remote = session.inner, session.remote
    source, destination = prefix.embed(remote[:4]), inner[:16]
    segment = _TCP.pack(port_of(remote), port_of(inner), 0, 0, 5 << 4, _ACK, 0, 0, 0)
    check = finish(pseudo_sum(source, destination, TCP, len(segment)) + ones_sum(segment))
    head = _IPV6.pack(0x60000000, len(segment), TCP, _HOP_LIMIT, source, destination)
    return Packet.of(head + segment[:16] + check.to_bytes(2, "big") + segment[18:])
