"""What one connection costs a server before it has authenticated: python -m bench.strangers.

Engines alone, in memory: CPU of the server's half, and what it keeps, for a first packet, for the largest hole that a
first packet may leave, and for a whole handshake."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import Any

from aioquic.quic.rangeset import RangeSet

from vpnrs_core.engine.vitals import resident_bytes
from vpnrs_core.interfaces import QuicEngine
from vpnrs_core.plugins.discover import discover
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.budget import Admission
from vpnrs_core.quic.demux import Gatehouse
from vpnrs_core.testkit.wire import CLIENT, SERVER, Wire

COUNT = 100
# Bytes that are left out before the first packet's own; engines refuse much more.
HOLE = 60_000


class Measured:
    """Wires whose server's work is timed: the time of this thread, in seconds, of all of them."""

    def __init__(self, engine: QuicEngine, hole: int = 0) -> None:
        self.seconds = 0.0
        self.wires = []
        for _ in range(COUNT):
            wire = Wire(AioquicEngine(), engine, delay=0.0)
            if hole:
                client: Any = wire.client.engine
                sender = next(iter(client._connection._crypto_streams.values())).sender
                size = len(sender._buffer)
                sender._buffer_start, sender._buffer_stop = hole, hole + size
                sender._pending = RangeSet([range(hole, hole + size)])
            self.wires.append(wire)

    def first_packets(self) -> None:
        for wire in self.wires:
            packet = bytes(wire.client.engine.transmit(wire.now)[0][0][0])
            self.timed(lambda wire=wire, packet=packet: wire.arrive(packet, CLIENT, SERVER))
            self.timed(lambda wire=wire: wire.leave(wire.server))

    def handshakes(self) -> None:
        for wire in self.wires:
            for _ in range(20):
                wire.leave(wire.client)
                while wire.in_flight:
                    _, packet, source, to = wire.in_flight.pop(0)
                    arrive = lambda wire=wire, p=packet, s=source, t=to: wire.arrive(p, s, t)  # noqa: E731
                    self.timed(arrive) if to == SERVER else arrive()
                    self.timed(lambda wire=wire: wire.leave(wire.server))
                if wire.server.engine.max_datagram():
                    break
            assert wire.server.engine.max_datagram(), "the handshake did not end"

    def timed(self, act: Callable[[], object]) -> None:
        began = time.thread_time()
        act()
        self.seconds += time.thread_time() - began


def kept(engine: QuicEngine, hole: int = 0) -> float:
    """KiB of resident memory that a server's connection holds after a first packet."""
    measured = Measured(engine, hole)
    gc.collect()
    before = resident_bytes()
    measured.first_packets()
    for wire in measured.wires:
        wire.server.sent.clear()
        wire.in_flight.clear()
    gc.collect()
    return (resident_bytes() - before) / COUNT / 1024


def retry() -> float:
    """Microseconds of a stateless answer."""
    [wire] = Measured(AioquicEngine()).wires[:1]
    packet = bytes(wire.client.engine.transmit(wire.now)[0][0][0])
    gate = Gatehouse(Admission(most=256, most_per_source=16, retry_threshold=0), os.urandom)
    began = time.thread_time()
    for number in range(5000):
        gate.judge(packet, (f"192.0.2.{number % 250}", 1000 + number), 1.0)
    return (time.thread_time() - began) / 5000 * 1e6


def main() -> None:
    engines: list[QuicEngine] = [AioquicEngine()]
    if "qh3" in discover():
        from vpnrs_qh3.engine import Qh3Engine

        engines.append(Qh3Engine())
    print(f"{'':10}{'first packet':>14}{'kept':>12}{'with a hole':>13}{'handshake':>12}")
    for engine in engines:
        first, whole = Measured(engine), Measured(engine)
        first.first_packets()
        whole.handshakes()
        print(
            f"{engine.NAME:10}{first.seconds / COUNT * 1e3:11.2f} ms{kept(engine):8.0f} KiB"
            f"{kept(engine, HOLE):9.0f} KiB{whole.seconds / COUNT * 1e3:9.2f} ms"
        )
    print(f"a Retry: {retry():.0f} µs")


if __name__ == "__main__":
    main()
