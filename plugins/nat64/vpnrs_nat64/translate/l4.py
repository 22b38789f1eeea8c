"""The transport header on its way from one family to the other: ports, echo types, incremental checksums (RFC 1624).

Addresses and ports enter a checksum as one delta. Payload is never summed up, so a checksum that was wrong comes out
equally wrong, and nobody repairs what the sender or the path has broken.
"""

from __future__ import annotations

from typing import NamedTuple

from vpnrs_core.packet.checksum import finish, ones_sum, pseudo_sum, update
from vpnrs_core.packet.header import ICMP, ICMPV6, TCP, UDP
from vpnrs_core.packet.vnet import CSUM_OFFSET

_TO_V4 = {128: 8, 129: 0}
_TO_V6 = {8: 128, 0: 129}

# As much of a transport header as is ever written: up to and with TCP's checksum.
HEAD = 18


class Change(NamedTuple):
    """What becomes of a packet: packed addresses before and after; new ports and echo identifier, None: kept.

    `length` is the upper-layer length in bytes that IPv6's pseudo-header has and IPv4's echo has not."""

    was: bytes
    becomes: bytes
    sport: int | None
    dport: int | None
    ident: int | None
    length: int


def rewrite(head: bytearray, protocol: int, change: Change, partial: bool = False) -> bool:
    """Change `head`, the first HEAD bytes of a TCP or UDP header or what there is of them. A checksum that is cut off
    is left out. `partial`: the checksum field holds the pseudo-header's sum only. False: even the ports are cut off.

    UDP without checksum (0) stays so; who may not send that has to look first."""
    if len(head) < 4:
        return False
    was, becomes = ones_sum(change.was), ones_sum(change.becomes)
    field = CSUM_OFFSET[protocol]
    there = len(head) >= field + 2
    old = int.from_bytes(head[field : field + 2], "big") if there else 0
    if partial:
        head[field : field + 2] = ((old + becomes - was) % 65535).to_bytes(2, "big")
    was += ones_sum(head[:4])
    if change.sport is not None:
        head[0:2] = change.sport.to_bytes(2, "big")
    if change.dport is not None:
        head[2:4] = change.dport.to_bytes(2, "big")
    if partial or not there or (protocol == UDP and not old):
        return True
    new = update(old, was, becomes + ones_sum(head[:4]))
    if protocol == UDP:
        new = new or 0xFFFF
    head[field : field + 2] = new.to_bytes(2, "big")
    return True


def rewrite_echo(head: bytearray, change: Change, version: int) -> bool:
    """Change an echo message into that of IP `version`. False: no echo, or cut off before its identifier."""
    types = _TO_V4 if version == 4 else _TO_V6
    if len(head) < 6 or head[0] not in types:
        return False
    old = int.from_bytes(head[2:4], "big")
    was = ones_sum(head[:2]) + ones_sum(head[4:6])
    head[0] = types[head[0]]
    if change.ident is not None:
        head[4:6] = change.ident.to_bytes(2, "big")
    becomes = ones_sum(head[:2]) + ones_sum(head[4:6])
    # Only ICMPv6 covers a pseudo-header.
    if version == 4:
        was += ones_sum(change.was) + ICMPV6 + change.length
    else:
        becomes += ones_sum(change.becomes) + ICMPV6 + change.length
    head[2:4] = update(old, was, becomes).to_bytes(2, "big")
    return True


def convert(head: bytearray, protocol: int, change: Change, version: int, partial: bool = False) -> bool:
    """`rewrite` or `rewrite_echo` by the old packet's `protocol`; every other transport is left alone. False: it
    cannot be translated to IP `version`."""
    if protocol in (TCP, UDP):
        return rewrite(head, protocol, change, partial)
    if protocol == (ICMPV6 if version == 4 else ICMP):
        return rewrite_echo(head, change, version)
    return protocol not in (ICMP, ICMPV6)


def compute_udp(src: bytes, dst: bytes, head: bytearray, payload: bytes) -> None:
    """Fill in the checksum of a UDP packet whose sender left it out (RFC 6146 §3.4). `payload` is what follows
    `head`; what lies behind the UDP length is not covered."""
    length = int.from_bytes(head[4:6], "big")
    covered = head + payload[: max(0, length - len(head))]
    total = pseudo_sum(src, dst, UDP, length) + ones_sum(covered[:length])
    head[6:8] = (finish(total) or 0xFFFF).to_bytes(2, "big")
