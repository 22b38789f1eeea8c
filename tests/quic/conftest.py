"""Two engine connections joined in memory, on a clock that the test holds."""

import math
import random

import pytest

from vpnrs_core.interfaces.engine import Closed, QuicSettings, StreamData
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.identity import make_certificate
from vpnrs_core.quic.packets import parse_long

PAIR = make_certificate("vpn.example")
SERVER, CLIENT = ("192.0.2.1", 443), ("192.0.2.2", 5000)


class Side:
    def __init__(self, address):
        self.address = address
        self.engine = None
        self.events, self.datagrams, self.sent = [], [], []

    def collect(self):
        self.events += self.engine.events()
        self.datagrams += self.engine.received_datagrams()

    def stream(self, number=0):
        return b"".join(e.data for e in self.events if isinstance(e, StreamData) and e.stream == number)

    @property
    def closed(self):
        return next((e for e in self.events if isinstance(e, Closed)), None)


class Wire:
    """`delay` seconds each way; `loss` is the fraction of packets lost, by a seeded generator. From the client to the
    server there may be a bottleneck of `rate` bytes a second, with `buffer` bytes of queue before it."""

    def __init__(self, *, fast=(True, True), delay=0.010, payload=1350, loss=0.0, settings=None):
        self.now, self.delay, self.loss = 100.0, delay, loss
        self.rate, self.buffer, self.free_at = math.inf, 0, 0.0
        self.random = random.Random(7)
        self.client, self.server = Side(CLIENT), Side(SERVER)
        self.in_flight = []
        shared = {"alpns": ("a",), "max_udp_payload": payload}
        client = QuicSettings(is_client=True, **(shared | (settings or {})))
        self.server_settings = QuicSettings(is_client=False, certificate=PAIR.certificate, key=PAIR.key, **shared)
        self.server_engine = AioquicEngine(fast=fast[1])
        self.client.engine = AioquicEngine(fast=fast[0]).client(client)
        self.client.engine.connect(SERVER, self.now)

    def _leave(self, side):
        if side.engine is None:
            return
        for packet, to in side.engine.transmit(self.now):
            side.sent.append(packet)
            if self.random.random() < self.loss:
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

    def _arrive(self, packet, source, to):
        side = self.server if to == SERVER else self.client
        if side.engine is None:
            side.engine = self.server_engine.server(self.server_settings, parse_long(packet).destination, None)
        side.engine.receive(packet, len(packet), source, self.now)
        side.collect()

    def step(self, limit=math.inf):
        """To the next thing that happens, or to `limit` if that is earlier."""
        self._leave(self.client)
        self._leave(self.server)
        times = [self.in_flight[0][0]] if self.in_flight else []
        engines = [side.engine for side in (self.client, self.server) if side.engine is not None]
        times += [at for at in (engine.timer() for engine in engines) if at is not None]
        # A microsecond late, as any real timer: aioquic holds an acknowledgement back at the very instant it is due.
        self.now = max(self.now, min([limit, *times]) + 1e-6)
        while self.in_flight and self.in_flight[0][0] <= self.now:
            _, packet, source, to = self.in_flight.pop(0)
            self._arrive(packet, source, to)
        for engine in engines:
            at = engine.timer()
            if at is not None and at <= self.now:
                engine.handle_timer(self.now)

    def until(self, condition, seconds=30.0):
        end = self.now + seconds
        while not condition():
            assert self.now < end, "it never happened"
            self.step()

    def run(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.step(end)

    def established(self):
        self.until(lambda: self.server.engine is not None and self.server.engine.max_datagram() > 0)
        self.until(lambda: self.client.engine.max_datagram() > 0)
        self.run(0.2)
        return self


@pytest.fixture
def wire():
    return Wire
