"""Cuts packets with scapy."""

from scapy.layers.inet import IP
from scapy.layers.inet import fragment as fragment4
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6


def pieces6(data: bytes, size: int = 1280) -> list[bytes]:
    packet = IPv6(data)
    head = IPv6(src=packet.src, dst=packet.dst, hlim=packet.hlim)
    whole = head / IPv6ExtHdrFragment(id=77, nh=packet.nh) / packet.payload
    return [bytes(each) for each in fragment6(whole, size)]


def pieces4(data: bytes, size: int = 1000) -> list[bytes]:
    packet = IP(data)
    packet.flags = 0
    return [bytes(each) for each in fragment4(packet, size)]
