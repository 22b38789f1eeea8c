"""The addresses of the tests, scapy's word on whether a packet is right, and short ways to both sides."""

from __future__ import annotations

from ipaddress import IPv6Network, ip_address
from typing import Any

from scapy.all import ICMP, IP, TCP, UDP, IPv6, Raw, raw  # type: ignore[attr-defined]
from vpnrs_nat64.translate.prefix import Prefix
from vpnrs_nat64.translate.problem import Problem

from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment

PREFIX = Prefix(IPv6Network("64:ff9b::/96"))
CLIENT, POOL, HOST = "fd00::2", "10.0.0.254", "8.8.8.8"
HOST6 = "64:ff9b::808:808"
ROUTER, ROUTER6 = "198.51.100.7", "64:ff9b::c633:6407"


def p(address: str) -> bytes:
    return ip_address(address).packed


# (src, dst) as `to_v4` and `to_v6` take them.
OUT4 = (p(POOL), p(HOST))
IN6 = (p(HOST6), p(CLIENT))


def good(result: Packet | Problem | None) -> Packet:
    assert isinstance(result, Packet), result
    return result


def all_good(result: list[Packet] | Problem) -> list[Packet]:
    assert isinstance(result, list), result
    return result


def parse(packet: Packet | bytes) -> Any:
    """scapy's view of a lone packet, its partial checksum finished."""
    data = packet if isinstance(packet, bytes) else segment(packet)[0]
    return IP(data) if data[0] >> 4 == 4 else IPv6(data)


def right(packet: Packet | bytes) -> Any:
    """`parse`, after scapy has computed every length and checksum to the same bytes."""
    parsed = parse(packet)
    again = parsed.copy()
    layer = again
    while layer:
        for name in ("chksum", "cksum", "len", "plen"):
            if name in layer.fields and not (layer is not again and isinstance(layer, IP | IPv6)):
                delattr(layer, name)
        if isinstance(layer, ICMP | TCP | UDP) or layer.name.startswith("ICMPv6"):
            # What an error quotes has been elsewhere, and is none of ours to finish; a payload is bytes.
            if isinstance(layer, TCP | UDP) and layer.payload:
                data = raw(layer.payload)
                layer.remove_payload()
                layer.add_payload(Raw(data))
            break
        layer = layer.payload
    assert raw(again) == raw(parsed), parsed.show2(dump=True)
    return parsed
