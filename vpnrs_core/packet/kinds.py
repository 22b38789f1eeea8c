"""The kinds of offloads, tcp4, tcp6, udp4 and udp6, and packets made such that a TUN with some of them takes them."""

from __future__ import annotations

from vpnrs_core.packet.header import TCP, UDP, Header
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.packet.vnet import NEEDS_CSUM

ALL_KINDS = frozenset({"tcp4", "tcp6", "udp4", "udp6"})

_KIND = {(4, TCP): "tcp4", (6, TCP): "tcp6", (4, UDP): "udp4", (6, UDP): "udp6"}


def kind_of(header: Header) -> str | None:
    """The kind that a super-packet or partial checksum with this header is of, None: there is none for it."""
    return _KIND.get((header.version, header.protocol))


def within(packets: list[Packet], kinds: frozenset[str]) -> list[Packet]:
    """The packets, in order, those of other kinds than `kinds` as complete packets with finished checksums."""
    if kinds >= ALL_KINDS:
        return packets
    taken: list[Packet] = []
    for packet in packets:
        if packet.frame[0] & NEEDS_CSUM and kind_of(packet.header) not in kinds:
            taken += [Packet.of(data, packet.session) for data in segment(packet)]
        else:
            taken.append(packet)
    return taken
