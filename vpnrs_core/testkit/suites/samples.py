"""Packets that a stage or codec meets: both families, all shapes, from and to the sessions of the bench."""

from __future__ import annotations

from vpnrs_core.interfaces import Packet
from vpnrs_core.packet.checksum import ones_sum, pseudo_sum
from vpnrs_core.packet.header import TCP, UDP, examine
from vpnrs_core.packet.segment import segment
from vpnrs_core.packet.vnet import PLAIN_VNET
from vpnrs_core.testkit.packets import SYN, echo, ip_packet, super_tcp, super_udp, tcp, udp

FAR = ("198.51.100.7", "2001:db8::7")
NEAR = ("10.0.0.2", "fd00::2")


def from_client() -> list[Packet]:
    """What alice's client sends: ingress."""
    return [packet for near, far in zip(NEAR, FAR, strict=True) for packet in _between(near, far)]


def to_client() -> list[Packet]:
    """What comes back for it: egress."""
    return [packet for near, far in zip(NEAR, FAR, strict=True) for packet in _between(far, near)]


def _between(src: str, dst: str) -> list[Packet]:
    plain = [
        udp(src, dst, b""),
        udp(src, dst, bytes(range(256)) * 4, dport=53),
        tcp(src, dst, b"", flags=SYN, options=bytes((2, 4, 5, 0xB4))),
        tcp(src, dst, b"GET / HTTP/1.1\r\n", dport=443),
        echo(src, dst),
        echo(src, dst, bytes(1000), reply=True),
        ip_packet(src, dst, 50, bytes(64)),  # ESP: a protocol without ports
        ip_packet(src, dst, 132, b"x"),  # too short for its header
    ]
    shapes = _shapes_of_six(src, dst) if ":" in src else _shapes_of_four(src, dst)
    supers = [
        super_tcp(src, dst, bytes(range(256)) * 40, 1200, dport=443),
        super_tcp(src, dst, bytes(100), 1200),
        super_udp(src, dst, bytes(6000), 1000, dport=443),
    ]
    return [*map(Packet.of, plain), *map(Packet.of, shapes), *supers]


def _shapes_of_four(src: str, dst: str) -> list[bytes]:
    whole = udp(src, dst, bytes(64))
    return [
        ip_packet(src, dst, UDP, udp(src, dst, bytes(40))[20:], options=bytes((1, 1, 1, 0))),
        _fragment(whole, first=True),
        _fragment(whole, first=False),
    ]


def _shapes_of_six(src: str, dst: str) -> list[bytes]:
    return [ip_packet(src, dst, UDP, udp(src, dst, bytes(40))[40:], options=bytes((1, 4, 0, 0, 0, 0)))]


def _fragment(whole: bytes, *, first: bool) -> bytes:
    """The first or second half of an IPv4 packet."""
    half = 20 + 32
    payload = whole[20:half] if first else whole[half:]
    made = bytearray(ip_packet("0.0.0.0", "0.0.0.0", whole[9], payload, dont_fragment=False))
    made[6:8] = (0x2000 if first else 32 // 8).to_bytes(2, "big")
    made[12:20] = whole[12:20]
    made[10:12] = b"\0\0"
    made[10:12] = (65535 - (ones_sum(bytes(made[:20])) or 65535)).to_bytes(2, "big")
    return bytes(made)


def faults(packet: Packet) -> list[str]:
    """What a receiver would find wrong with the packet's segments: checksums of IPv4, TCP and UDP."""
    found = []
    for wire in segment(packet):
        header = examine(PLAIN_VNET + wire)
        if header.version == 4 and ones_sum(wire[: header.l4_offset]) % 65535:
            found.append("the checksum of its IPv4 header is wrong")
        if header.is_fragment or header.protocol not in (TCP, UDP) or header.header_length == header.l4_offset:
            continue
        l4 = wire[header.l4_offset :]
        unchecked = header.protocol == UDP and header.version == 4 and l4[6:8] == b"\0\0"
        total = ones_sum(l4) + pseudo_sum(header.source, header.destination, header.protocol, len(l4))
        if not unchecked and total % 65535:
            found.append("its L4 checksum is wrong")
    return found
