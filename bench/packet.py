"""What the packet room costs: microseconds per operation. Run it alone: `.venv/bin/python bench/packet.py`."""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable

from vpnrs_core.packet.checks import well_formed
from vpnrs_core.packet.checksum import ones_sum
from vpnrs_core.packet.coalesce import coalesce
from vpnrs_core.packet.icmp import packet_too_big
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.prefix import PrefixTable
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit.packets import super_tcp, super_udp, tcp, udp

SEGMENT = 1360
FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")


def measure(name: str, operation: Callable[[], object], per: int = 1) -> None:
    """The best of five runs of about 50 ms, divided by `per`."""
    timer = timeit.Timer(operation)
    number = max(1, int(0.05 / max(timer.timeit(1), 1e-7)))
    seconds = min(timer.repeat(5, number)) / number / per
    print(f"{name:46} {seconds * 1e6:8.2f} µs")


def main() -> None:
    data = os.urandom(SEGMENT)
    measure("ones' complement sum, 1360 bytes", lambda: ones_sum(data))
    for name, ip in (("TCP/IPv4", tcp(*FOUR, data)), ("UDP/IPv6", udp(*SIX, data))):
        frame = Packet.of(ip).frame
        measure(f"header walk and checks, {name}", lambda frame=frame: well_formed(frame))  # type: ignore[misc]
    for make in (super_tcp, super_udp):
        for version, addresses in (("4", FOUR), ("6", SIX)):
            for count in (2, 45):
                packet = make(*addresses, os.urandom(SEGMENT * count - 7), SEGMENT)
                pieces = segment(packet)
                name = f"{make.__name__[6:].upper()}/IPv{version}, {count} segments, per segment"
                measure(f"segment {name}", lambda p=packet: segment(p), count)  # type: ignore[misc]
                measure(f"coalesce {name}", lambda s=pieces: coalesce(list(map(Packet.of, s))), count)  # type: ignore[misc]
    packet = super_tcp(*FOUR, os.urandom(60_000), SEGMENT)
    measure("slice half of a 60,000-byte super-packet", lambda: packet.slice(0, 22))
    measure("Packet Too Big for a super-packet", lambda: packet_too_big(packet, 1280, b"\n\0\0\1"))
    table: PrefixTable[int] = PrefixTable()
    for index in range(200):
        table.add(f"10.0.{index}.1/32", index)
    table.add("10.0.0.0/8", 1)
    table.add("0.0.0.0/0", 2)
    measure("longest prefix, host route", lambda: table.get(b"\n\0\7\1", None))
    measure("longest prefix, default route", lambda: table.get(b"\x0b\0\7\1", None))


if __name__ == "__main__":
    main()
