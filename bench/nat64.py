"""What NAT64's translator costs: packets/s and Gbit/s by size and direction. `.venv/bin/python bench/nat64.py`."""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from vpnrs_nat64.translate.fast import Identification, key_of, rewriter
from vpnrs_nat64.translate.mtu import deliver_v4, deliver_v6
from vpnrs_nat64.translate.tuples import Tuple, tuple_of

from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit.packets import super_tcp, super_udp, tcp, udp

# Of the whole packet, as it enters; the last one is a super-packet of segments of 1,360 bytes.
SIZES = (60, 1420, 65_000)
SIX, FOUR = ("fd00::2", "64:ff9b::808:808"), ("8.8.8.8", "10.0.0.254")


class Cost(NamedTuple):
    """One kind of packet: `packets` a second, `gbit` a second of the packets as they enter."""

    name: str
    packets: float
    gbit: float


def measure(operation: Callable[[], object]) -> float:
    """Calls a second: the best of many short runs, so that another process on the machine spoils only some."""
    number = 200
    return number / min(timeit.repeat(operation, number=number, repeat=100))


def _packet(protocol: str, addresses: tuple[str, str], size: int) -> Packet:
    headers = (40 if addresses is SIX else 20) + (20 if protocol == "tcp" else 8)
    payload = os.urandom(max(0, size - headers))
    if size > 9000:
        return (super_tcp if protocol == "tcp" else super_udp)(*addresses, payload, 1360)
    return Packet.of((tcp if protocol == "tcp" else udp)(*addresses, payload))


def costs() -> Iterator[Cost]:
    """The fast path with the look-up of its session, in both directions, and the slow path beside it."""
    out, back = FOUR[::-1], SIX[::-1]
    for size in SIZES:
        for addresses in (SIX, FOUR):
            # TCP's smallest IPv6 packet has 60 bytes.
            packet = _packet("tcp", addresses, size)
            old = tuple_of(packet)
            assert old is not None
            source, destination = (ip_address(end).packed for end in (out if addresses is SIX else back))
            new = Tuple(old.protocol, source, destination, 5000, old.dport)
            sessions = {key_of(packet.frame): rewriter(old, new, 1500, Identification())}

            def fast(packet: Packet = packet, sessions: dict = sessions) -> object:  # type: ignore[type-arg]
                return sessions[key_of(packet.frame)].rewrite(packet)

            def slow(packet: Packet = packet, new: Tuple = new) -> object:
                deliver = deliver_v4 if packet.version == 6 else deliver_v6
                return deliver(packet, new.src, new.dst, new.sport, new.dport, mtu=1500)

            assert fast() is not None
            direction = "IPv6 to IPv4" if addresses is SIX else "IPv4 to IPv6"
            for name, operation in (("fast", fast), ("slow", slow)):
                rate = measure(operation)
                yield Cost(
                    f"{direction}, {len(packet.data):6,} bytes, {name} path", rate, rate * len(packet.data) * 8e-9
                )


def main() -> None:
    for cost in costs():
        print(f"{cost.name:45} {cost.packets:12,.0f} packets/s {cost.gbit:8.2f} Gbit/s {1e6 / cost.packets:6.2f} µs")


if __name__ == "__main__":
    main()
