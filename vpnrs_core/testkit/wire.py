"""Two engine connections joined in memory, on a clock that the test holds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.engine import (
    Closed,
    EngineConnection,
    EngineEvent,
    QuicEngine,
    QuicSettings,
    SocketAddress,
    StreamData,
)
from vpnrs_core.quic.identity import make_certificate
from vpnrs_core.quic.packets import parse_long

PAIR = make_certificate("vpn.example")
SERVER: SocketAddress = ("192.0.2.1", 443)
CLIENT: SocketAddress = ("192.0.2.2", 5000)


class Side:
    """One end, and what was heard from its engine."""

    def __init__(self, address: SocketAddress) -> None:
        self.address = address
        self.started: EngineConnection | None = None
        self.events: list[EngineEvent] = []
        self.datagrams: list[bytes] = []
        self.sent: list[bytes] = []

    @property
    def engine(self) -> EngineConnection:
        assert self.started is not None
        return self.started

    def collect(self) -> None:
        self.events += self.engine.events()
        self.datagrams += self.engine.received_datagrams()

    def stream(self, number: int = 0) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, StreamData) and e.stream == number)

    @property
    def closed(self) -> Closed | None:
        return next((e for e in self.events if isinstance(e, Closed)), None)


class Wire:
    """`delay` seconds each way; `loss` is the fraction of packets lost, by a seeded generator. From the client to the
    server there may be a bottleneck of `rate` bytes a second, with `buffer` bytes of queue before it."""

    def __init__(
        self,
        client: QuicEngine,
        server: QuicEngine,
        *,
        delay: Seconds = 0.010,
        payload: int = 1350,
        loss: float = 0.0,
        start_udp_payload: int | None = None,
        **settings: Any,
    ) -> None:
        """`settings` are more of the client's QuicSettings."""
        self.now: Seconds = 100.0
        self.delay, self.loss = delay, loss
        self.rate, self.buffer, self.free_at = math.inf, 0, 0.0
        self.largest: float = math.inf
        self.random = random.Random(7)
        self.client, self.server = Side(CLIENT), Side(SERVER)
        self.in_flight: list[tuple[Seconds, bytes, SocketAddress, SocketAddress]] = []
        shared: dict[str, Any] = {"alpns": ("a",), "max_udp_payload": payload, "start_udp_payload": start_udp_payload}
        self.server_settings = QuicSettings(is_client=False, certificate=PAIR.certificate, key=PAIR.key, **shared)
        self.server_engine = server
        self.client.started = client.client(QuicSettings(is_client=True, **(shared | settings)))
        self.client.engine.connect(SERVER, self.now)

    def leave(self, side: Side) -> None:
        """What the engine has to send is on its way."""
        if side.started is None:
            return
        left = side.engine.transmit(self.now)
        for packet, to in [(packet, to) for packets, to in left for packet in packets]:
            side.sent.append(packet)
            if self.random.random() < self.loss or len(packet) > self.largest:
                continue
            at = self.now
            if side is self.client and self.rate != math.inf:
                at = max(self.now, self.free_at)
                if (at - self.now) * self.rate > self.buffer:
                    continue
                at = self.free_at = at + len(packet) / self.rate
            self.in_flight.append((at + self.delay, packet, side.address, to))
        self.in_flight.sort(key=lambda packet: packet[0])
        side.collect()

    def arrive(self, packet: bytes, source: SocketAddress, to: SocketAddress) -> None:
        side = self.server if to == SERVER else self.client
        if side.started is None:
            header = parse_long(packet)
            assert header is not None
            side.started = self.server_engine.server(self.server_settings, header.destination, None)
        side.engine.receive(packet, len(packet), source, self.now)
        side.collect()

    def step(self, limit: Seconds = math.inf) -> None:
        """To the next thing that happens, or to `limit` if that is earlier."""
        self.leave(self.client)
        self.leave(self.server)
        times = [self.in_flight[0][0]] if self.in_flight else []
        engines = [side.engine for side in (self.client, self.server) if side.started is not None]
        times += [at for at in (engine.timer() for engine in engines) if at is not None]
        # A microsecond late, as any real timer: aioquic holds an acknowledgement back at the very instant it is due.
        self.now = max(self.now, min([limit, *times])) + 1e-6
        while self.in_flight and self.in_flight[0][0] <= self.now:
            _, packet, source, to = self.in_flight.pop(0)
            self.arrive(packet, source, to)
        for engine in engines:
            due = engine.timer()
            if due is not None and due <= self.now:
                engine.handle_timer(self.now)

    def until(self, condition: Callable[[], object], seconds: Seconds = 30.0) -> None:
        end = self.now + seconds
        while not condition():
            assert self.now < end, "it never happened"
            self.step()

    def run(self, seconds: Seconds) -> None:
        end = self.now + seconds
        while self.now < end:
            self.step(end)

    def established(self) -> Wire:
        self.until(lambda: self.server.started is not None and self.server.engine.max_datagram() > 0)
        self.until(lambda: self.client.engine.max_datagram() > 0)
        self.run(0.2)
        return self

    def send(self, side: Side, datagrams: Sequence[bytes]) -> int:
        return side.engine.send(datagrams, self.now)
