"""What the translator costs by itself, in packets a second of one core: the plugin's stage as the pipeline calls it,
and TAYGA fed through its TUN.

Ours is measured from `process` to `forward`: the look-up of the session, its timer, the translation; batches of 32, in
which half the packets are of one session and half of others. TAYGA's figure is of its process's CPU time, which
contains its reading and writing of the TUN; ours does not."""

from __future__ import annotations

import logging
import os
import random
import socket
import tempfile
import time
import timeit
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from vpnrs_nat64.config import Nat64Config
from vpnrs_nat64.stage import Nat64Stage
from vpnrs_nat64.translator import Translator

from bench.nat64_tayga import PREFIX, PROTOCOL, Tayga
from vpnrs_core.interfaces import Direction, Packet
from vpnrs_core.testkit.netns import Topology
from vpnrs_core.testkit.packets import super_tcp, tcp

# Of the whole packet, as it enters; the last one is a super-packet of segments of 1,220 bytes, as a tunnel has them.
SIZES = (60, 1420, 65_000)
SEGMENT = 1220
BATCH = 32
TO_V4, TO_V6 = "IPv6 to IPv4", "IPv4 to IPv6"
CLIENT, HOST, SOURCE = "fd00::2", "192.0.2.9", "10.0.0.254"
FAR = str(IPv6Address(int(IPv6Address("64:ff9b:1::")) + int(IPv4Address(HOST))))
_ACK, _SYN = 0x10, 0x02


class Cost(NamedTuple):
    """`packets` a second, `gbit` a second of packets of `size` bytes as they enter."""

    who: str
    direction: str
    size: int
    packets: float
    gbit: float


def ours() -> Iterator[Cost]:
    """Every size in both directions."""
    for size in SIZES:
        for direction in (TO_V4, TO_V6):
            yield _cost("vpnrs", direction, size, _stage_rate(direction, size))


def taygas(seconds: float) -> Iterator[Cost]:
    """As `ours`; nothing where TAYGA is not installed. Its TUN takes packets of 65,000 bytes whole."""
    if Tayga.unavailable():
        return
    with tempfile.TemporaryDirectory() as folder, Topology() as net:
        gateway = net.namespace("tayga")
        with Tayga.running(gateway, Path(folder), mtu=65_535) as tayga:
            for size in SIZES:
                for direction in (TO_V4, TO_V6):
                    yield _cost("TAYGA", direction, size, _tayga_rate(tayga, direction, size, seconds))


def _cost(who: str, direction: str, size: int, rate: float) -> Cost:
    return Cost(who, direction, size, rate, rate * size * 8e-9)


class _Out:
    """As the pipeline's `out`, as far as a packet of the fast path comes: what was forwarded is counted."""

    def __init__(self) -> None:
        self.forwarded = 0

    def forward(self, _: Packet, *new: Packet) -> None:
        self.forwarded += len(new)


class _Context:
    """interfaces.Context, as far as the translator asks it."""

    role, log = "server", logging.getLogger("bench")

    def counter(self, *_: object) -> Any:
        return SimpleNamespace(add=lambda *_: None)

    def random(self, count: int) -> bytes:
        return random.Random(64).randbytes(count)

    def emit(self, _: object) -> None: ...
    def now(self) -> float:
        return 0.0


class _Session:
    """The part of interfaces.Session that the stage reads."""

    id, leases, mtu = "1", (ip_address(CLIENT),), 1500


def _stage_rate(direction: str, size: int) -> float:
    """Packets a second: the best of many short runs, so that another process on the machine spoils only some."""
    stage, session = _stage()
    way = Direction.INGRESS if direction == TO_V4 else Direction.EGRESS
    batch = [_packet(direction, size, 40_000 + (number // 2 if number & 1 else 0)) for number in range(BATCH)]
    for packet in batch:
        packet.session = session if direction == TO_V4 else None
        assert packet.header
    _establish(stage, session, batch, way)
    out, number = _Out(), 10
    clock = count(1)
    best = min(timeit.repeat(lambda: stage.process(way, batch, out, next(clock) / 1e4), number=number, repeat=200))  # type: ignore[arg-type]
    assert out.forwarded == 200 * number * BATCH
    return number * BATCH / best


def _stage() -> tuple[Nat64Stage, Any]:
    config = Nat64Config(prefix="64:ff9b:1::/96", source_ip=SOURCE)
    stage = Translator(config, _Context()).tun(lambda _: None)  # type: ignore[arg-type]
    session: Any = _Session()
    stage.session_opened(session)
    return stage, session


def _establish(stage: Nat64Stage, session: Any, batch: Sequence[Packet], way: Direction) -> None:
    """A handshake for each connection, then a few turns, after which all of the batch goes fast."""
    out: Any = _Out()
    for port in range(40_000, 40_000 + BATCH):
        syn = Packet.of(tcp(CLIENT, FAR, sport=port, dport=80, flags=_SYN), session)
        answer = Packet.of(tcp(HOST, SOURCE, sport=80, dport=port, flags=_SYN | _ACK))
        stage.process(Direction.INGRESS, [syn], out, 0.0)
        stage.process(Direction.EGRESS, [answer], out, 0.0)
    for _ in range(3):
        stage.process(way, batch, out, 0.5)


def _packet(direction: str, size: int, port: int) -> Packet:
    ends = (CLIENT, FAR) if direction == TO_V4 else (HOST, SOURCE)
    ports: dict[str, Any] = {"sport": port, "dport": 80} if direction == TO_V4 else {"sport": 80, "dport": port}
    payload = os.urandom(max(0, size - (60 if direction == TO_V4 else 40)))
    if size > 9000:
        return super_tcp(*ends, payload, SEGMENT, **ports)
    return Packet.of(tcp(*ends, payload, **ports, flags=_ACK))


def _tayga_rate(tayga: Tayga, direction: str, size: int, seconds: float) -> float:
    """Packets that come out a second of its CPU time, fed for `seconds` as fast as one sender can."""
    payload = os.urandom(max(0, size - (60 if direction == TO_V4 else 40)))
    ends = (tayga.client6, f"{PREFIX}{HOST}") if direction == TO_V4 else (HOST, tayga.client4)
    data = tcp(*ends, payload, sport=40_000, dport=80, flags=_ACK)
    with tayga.namespace.entered():
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    where = (tayga.device, PROTOCOL[data[0] >> 4])
    with sender:
        before, spent = tayga.written(), tayga.cpu_seconds()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(50):
                sender.sendto(data, where)
        came, took = tayga.written() - before, tayga.cpu_seconds() - spent
    if not came:
        raise RuntimeError(f"tayga translated nothing, {direction}, {size} bytes")
    return came / took
