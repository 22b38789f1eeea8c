"""Builders of IP packets and super-packets for tests, with right lengths and checksums and no dependencies."""

from __future__ import annotations

from ipaddress import ip_address

from vpnrs_core.packet.checksum import checksum, finish, ones_sum, pseudo_sum
from vpnrs_core.packet.header import ICMP, ICMPV6, TCP, UDP
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.vnet import CSUM_OFFSET, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, Vnet

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))


def ip_packet(
    src: str,
    dst: str,
    protocol: int,
    payload: bytes,
    *,
    identification: int = 1,
    dont_fragment: bool = True,
    ttl: int = 64,
    tos: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IPv4 or IPv6 packet, by the family of the addresses. `options`: IPv4's, padded to a multiple of 4; for IPv6
    one destination-options header is made of them, padded to 6 bytes more than a multiple of 8."""
    source, destination = ip_address(src), ip_address(dst)
    if source.version == 4:
        head = bytearray((0x40 | 5 + len(options) // 4, tos))
        head += (20 + len(options) + len(payload)).to_bytes(2, "big") + identification.to_bytes(2, "big")
        head += bytes((0x40 if dont_fragment else 0, 0, ttl, protocol, 0, 0)) + source.packed + destination.packed
        head += options
        head[10:12] = checksum(head).to_bytes(2, "big")
        return bytes(head) + payload
    if options:
        payload = bytes((protocol, (len(options) + 2) // 8 - 1)) + options + payload
        protocol = 60
    head = bytearray((0x60 | tos >> 4, (tos & 15) << 4, 0, 0)) + len(payload).to_bytes(2, "big")
    return bytes(head + bytes((protocol, ttl))) + source.packed + destination.packed + payload


def _sum(src: str, dst: str, protocol: int, length: int) -> int:
    return pseudo_sum(ip_address(src).packed, ip_address(dst).packed, protocol, length)


def tcp_header(
    *, sport: int = 40000, dport: int = 80, seq: int = 1, ack: int = 1, flags: int = ACK, window: int = 500,
    options: bytes = b"",
) -> bytes:  # fmt: skip
    """A TCP header with a zero checksum; `options` is padded to a multiple of 4."""
    head = sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + seq.to_bytes(4, "big") + ack.to_bytes(4, "big")
    return head + bytes((5 + len(options) // 4 << 4, flags)) + window.to_bytes(2, "big") + bytes(4) + options


def udp_header(payload: int, *, sport: int = 40000, dport: int = 53) -> bytes:
    """A UDP header with a zero checksum for `payload` bytes."""
    return sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + (8 + payload).to_bytes(2, "big") + b"\0\0"


def _finished(src: str, dst: str, protocol: int, head: bytes, payload: bytes, field: int) -> bytes:
    total = _sum(src, dst, protocol, len(head) + len(payload)) + ones_sum(head + payload)
    check = finish(total) or (0xFFFF if protocol == UDP else 0)
    return head[:field] + check.to_bytes(2, "big") + head[field + 2 :] + payload


def tcp(
    src: str, dst: str, payload: bytes = b"", *, ip: dict[str, object] | None = None, **tcp_fields: object
) -> bytes:
    """A complete TCP packet. `ip`: arguments of `ip_packet`, the rest those of `tcp_header`."""
    l4 = _finished(src, dst, TCP, tcp_header(**tcp_fields), payload, 16)  # type: ignore[arg-type]
    return ip_packet(src, dst, TCP, l4, **(ip or {}))  # type: ignore[arg-type]


def udp(src: str, dst: str, payload: bytes = b"", *, ip: dict[str, object] | None = None, **ports: int) -> bytes:
    """A complete UDP packet. `ip`: arguments of `ip_packet`, `ports`: sport, dport."""
    l4 = _finished(src, dst, UDP, udp_header(len(payload), **ports), payload, 6)
    return ip_packet(src, dst, UDP, l4, **(ip or {}))  # type: ignore[arg-type]


def echo(src: str, dst: str, payload: bytes = b"ping", *, reply: bool = False, ident: int = 1, seq: int = 1) -> bytes:
    """An ICMP or ICMPv6 echo request or reply."""
    rest = ident.to_bytes(2, "big") + seq.to_bytes(2, "big") + payload
    if ip_address(src).version == 4:
        head = bytes((0 if reply else 8, 0))
        message = head + checksum(head + b"\0\0" + rest).to_bytes(2, "big") + rest
        return ip_packet(src, dst, ICMP, message)
    head = bytes((129 if reply else 128, 0, 0, 0))
    return ip_packet(src, dst, ICMPV6, _finished(src, dst, ICMPV6, head, rest, 2))


def super_tcp(
    src: str, dst: str, payload: bytes, gso_size: int, *, ip: dict[str, object] | None = None, **tcp_fields: object
) -> Packet:
    """A TCP super-packet with a partial checksum; a lone one, still partial, when gso_size holds all of it."""
    return _super(src, dst, TCP, tcp_header(**tcp_fields), payload, gso_size, ip)  # type: ignore[arg-type]


def super_udp(
    src: str, dst: str, payload: bytes, gso_size: int, *, ip: dict[str, object] | None = None, **ports: int
) -> Packet:
    """A UDP super-packet, as `super_tcp`."""
    return _super(src, dst, UDP, udp_header(len(payload), **ports), payload, gso_size, ip)


def _super(
    src: str, dst: str, protocol: int, head: bytes, payload: bytes, gso_size: int, ip: dict[str, object] | None
) -> Packet:
    field = CSUM_OFFSET[protocol]
    partial = _sum(src, dst, protocol, len(head) + len(payload)).to_bytes(2, "big")
    l4 = head[:field] + partial + head[field + 2 :] + payload
    data = ip_packet(src, dst, protocol, l4, **(ip or {}))  # type: ignore[arg-type]
    start = len(data) - len(l4)
    gso_type = 0
    if len(payload) > gso_size:
        gso_type = GSO_UDP_L4 if protocol == UDP else GSO_TCPV4 if data[0] >> 4 == 4 else GSO_TCPV6
    vnet = Vnet(NEEDS_CSUM, gso_type, start + len(head), gso_size if gso_type else 0, start, field)
    return Packet.of(data, vnet=vnet.pack())
