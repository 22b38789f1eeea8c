"""IPv4 fragmentation (RFC 791 §3.2) of packets that allow it."""

from __future__ import annotations

from vpnrs_core.packet.checksum import checksum

DONT_FRAGMENT, MORE_FRAGMENTS = 0x4000, 0x2000
_COPIED = 0x80
_END, _NOP = 0, 1


def may_fragment(ip: bytes) -> bool:
    """IPv4 without DF. Routers never fragment IPv6 (RFC 8200 §5)."""
    return ip[0] >> 4 == 4 and not ip[6] & DONT_FRAGMENT >> 8


def fragment(ip: bytes, mtu: int) -> list[bytes]:
    """Fragments of at most `mtu` bytes of a sound IPv4 packet with finished checksums; the packet itself if it fits.

    A fragment may be fragmented further. Raises ValueError: DF is set, not IPv4, or not even 8 bytes of payload fit."""
    if len(ip) <= mtu:
        return [ip]
    if not may_fragment(ip):
        raise ValueError("the packet may not be fragmented")
    header_length = (ip[0] & 15) * 4
    step = (mtu - header_length) // 8 * 8
    if step < 8:
        raise ValueError(f"an MTU of {mtu} leaves no room behind a header of {header_length} bytes")
    field = int.from_bytes(ip[6:8], "big")
    base, more = field & 0x1FFF, field & MORE_FRAGMENTS
    head = ip[:header_length]
    later = head[:20] + _copied_options(head[20:])
    fragments = []
    for at in range(header_length, len(ip), step):
        payload = ip[at : at + step]
        last = at + step >= len(ip)
        flags = more if last else MORE_FRAGMENTS
        offset = base + (at - header_length) // 8
        fragments.append(_header(later if offset else head, len(payload), field & 0x8000 | flags | offset) + payload)
    return fragments


def _header(head: bytes, payload: int, field: int) -> bytes:
    new = bytearray(head)
    new[2:4] = (len(head) + payload).to_bytes(2, "big")
    new[6:8] = field.to_bytes(2, "big")
    new[10:12] = b"\0\0"
    new[10:12] = checksum(new).to_bytes(2, "big")
    return bytes(new)


def _copied_options(options: bytes) -> bytes:
    """The options of later fragments: those without the copied flag become no-operations, so that the header keeps
    its length, as the kernel has it. What cannot be parsed is padding from there on."""
    new = bytearray(options)
    at = 0
    while at < len(new):
        kind = new[at]
        if kind == _END:
            break
        if kind == _NOP:
            at += 1
            continue
        size = new[at + 1] if at + 1 < len(new) else 0
        if size < 2 or at + size > len(new):
            new[at:] = bytes(len(new) - at)
            break
        if not kind & _COPIED:
            new[at : at + size] = bytes((_NOP,)) * size
        at += size
    return bytes(new)
