"""One line for a packet: scapy's summary where scapy is installed, else addresses, protocol and ports."""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import ip_address

from vpnrs_core.packet.header import BadPacket
from vpnrs_core.packet.packet import Packet

_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}


def decoder() -> Callable[[bytes], str]:
    """The best that is here."""
    logging.getLogger("scapy").setLevel(logging.ERROR)
    try:
        from scapy.layers.inet import IP
        from scapy.layers.inet6 import IPv6
    except ImportError:
        return plain

    def decode(data: bytes) -> str:
        if not data:
            return ""
        layer = IPv6 if data[0] >> 4 == 6 else IP
        try:
            text: str = layer(data).summary()
        except Exception:
            return plain(data)
        return _printable(text)

    return decode


def plain(data: bytes) -> str:
    """Without scapy."""
    if not data:
        return ""
    packet = Packet.of(data)
    try:
        header = packet.header
    except BadPacket as error:
        return f"malformed: {error}"
    protocol = _PROTOCOLS.get(packet.protocol, f"protocol {packet.protocol}")
    ports = data[header.l4_offset : header.l4_offset + 4] if packet.protocol in (6, 17) else b""
    if len(ports) == 4:
        near, far = (f":{int.from_bytes(part, 'big')}" for part in (ports[:2], ports[2:]))
    else:
        near = far = ""
    return f"{protocol} {ip_address(header.source)}{near} > {ip_address(header.destination)}{far}"


def _printable(text: str) -> str:
    """What a packet holds may be terminal sequences."""
    return "".join(c if c.isprintable() else "." for c in text)
