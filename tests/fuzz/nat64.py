"""The NAT64 under any packets: the plugin's stage as the pipeline calls it, with a client that has a few sessions."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

from vpnrs_nat64.config import Nat64Config
from vpnrs_nat64.stage import Nat64Stage
from vpnrs_nat64.translator import Translator

from vpnrs_core.interfaces import Direction
from vpnrs_core.packet.checks import well_formed
from vpnrs_core.packet.header import BadPacket
from vpnrs_core.packet.icmp import may_answer
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit.packets import echo, tcp, udp

CLIENT, FAR, HOST, SOURCE = "fd00::2", "64:ff9b:1::192.0.2.9", "192.0.2.9", "10.0.0.254"
MTU = 1280
_SYN = 2


class _Client:
    """The part of interfaces.Session that the stage reads."""

    id, leases, mtu, principal = "1", (ip_address(CLIENT),), MTU, SimpleNamespace(name="a")


class _Context:
    """The part of interfaces.Context that the plugin uses."""

    role, log = "server", logging.getLogger("fuzz")

    def counter(self, *_: object) -> Any:
        return SimpleNamespace(add=lambda *_: None)

    def random(self, count: int) -> bytes:
        return random.Random(count).randbytes(count)

    def emit(self, _: object) -> None: ...
    def now(self) -> float:
        return 0.0


class Verdicts:
    """interfaces.Out: exactly one verdict for every packet, and nothing leaves that is not sound."""

    def __init__(self, asked: Iterable[Packet]) -> None:
        self.open = {id(packet): packet for packet in asked}
        self.held: dict[int, Packet] = {}

    def forward(self, of: Packet | Sequence[Packet], *new: Packet) -> None:
        self._judged(of)
        for packet in new:
            _sound(packet)

    def drop(self, packet: Packet, reason: str) -> None:
        assert reason.startswith("nat64.")
        self._judged(packet)

    def hold(self, packet: Packet) -> bool:
        self._judged(packet)
        self.held[id(packet)] = packet
        return True

    def inject(self, direction: Direction, packet: Packet, cause: Any = None) -> None:
        _sound(packet)
        if isinstance(cause, Packet):
            assert may_answer(cause, too_big=True), "an error answers what must not be answered"
        for part in cause if isinstance(cause, Sequence) else ():
            self.open.pop(id(part), None)
            self.held.pop(id(part), None)

    def _judged(self, of: Packet | Sequence[Packet]) -> None:
        for packet in (of,) if isinstance(of, Packet) else of:
            known = self.open.pop(id(packet), None) or self.held.pop(id(packet), None)
            assert known is packet, "a packet got two verdicts"


def _sound(packet: Packet) -> None:
    header = well_formed(packet.frame)
    assert packet.header == header
    if header.version == 6:
        assert packet.largest_segment <= MTU
    segment(packet)


def play(packets: Iterable[bytes]) -> None:
    """IPv6 packets come from the client, IPv4 ones from outside, each three times: the slow way, and the fast one."""
    stage, client = _established()
    out = Verdicts(())
    now = 1.0
    for data in packets:
        for _ in range(3):
            packet = Packet.of(data)
            try:
                version = packet.header.version
            except BadPacket:
                break
            way = Direction.INGRESS if version == 6 else Direction.EGRESS
            packet.session = client if version == 6 else None
            out.open = {id(packet): packet}
            stage.process(way, [packet], out, now)  # type: ignore[arg-type]
            assert not out.open, "a packet got no verdict"
            now += 0.1
    for _ in range(200):
        now += 500
        stage.on_wake(now, out)  # type: ignore[arg-type]
        if not stage.state.count_sessions() and not out.held:
            break
    assert not out.held, "a packet is held for ever"
    assert stage.state.count_bindings() == stage.state.count_sessions() == len(stage.fragments) == 0


def _established() -> tuple[Nat64Stage, Any]:
    config = Nat64Config(prefix="64:ff9b:1::/96", source_ip=SOURCE)  # type: ignore[arg-type]
    stage = Translator(config, _Context()).tun(lambda _: None)  # type: ignore[arg-type]
    client: Any = _Client()
    stage.session_opened(client)
    first = [
        udp(CLIENT, FAR, b"x", sport=40_000, dport=53),
        tcp(CLIENT, FAR, sport=40_000, dport=80, flags=_SYN),
        echo(CLIENT, FAR, ident=40_000),
    ]
    asked = [Packet.of(data, client) for data in first]
    stage.process(Direction.INGRESS, asked, Verdicts(asked), 0.0)  # type: ignore[arg-type]
    return stage, client


def seeds() -> list[list[bytes]]:
    """What a good client and good hosts send: every kind that is translated, answers, errors, fragments."""
    syn_ack, ack, fin = 0x12, 0x10, 0x11
    out = [
        udp(CLIENT, FAR, bytes(100), sport=40_000, dport=53),
        udp(CLIENT, FAR, bytes(1000), ip={"options": bytes(6)}),
    ]
    back = [udp(HOST, SOURCE, bytes(size), sport=53, dport=40_000) for size in (0, 9, 1300)]
    loose = udp(HOST, SOURCE, bytes(3000), sport=53, dport=40_000, ip={"dont_fragment": False})
    shake = [
        tcp(HOST, SOURCE, sport=80, dport=40_000, flags=syn_ack),
        tcp(CLIENT, FAR, b"x" * 50, sport=40_000, dport=80, flags=ack),
        tcp(HOST, SOURCE, b"y" * 50, sport=80, dport=40_000, flags=ack),
        tcp(HOST, SOURCE, sport=80, dport=40_000, flags=fin),
        tcp(CLIENT, FAR, sport=40_000, dport=80, flags=fin),
    ]
    turn = "64:ff9b:1::10.0.0.254"
    return [
        out, back, [loose], shake, shake[:3],
        [echo(CLIENT, FAR, ident=40_000), echo(HOST, SOURCE, reply=True, ident=40_000)],
        [tcp(HOST, SOURCE, sport=9, dport=41_000, flags=_SYN), tcp(CLIENT, FAR, sport=41_000, dport=9, flags=_SYN)],
        [udp(CLIENT, turn, b"turned", sport=40_000, dport=40_000), echo(CLIENT, turn, ident=40_000)],
        [*_pieces(udp(HOST, SOURCE, bytes(2000), sport=53, dport=40_000, ip={"dont_fragment": False}))],
        [_error(quoted, kind, code) for quoted, kind, code in _errors()],
    ]  # fmt: skip


def _pieces(data: bytes) -> list[bytes]:
    from vpnrs_core.packet.fragment import fragment

    return fragment(data, 800)


def _errors() -> list[tuple[bytes, int, int]]:
    quoted4 = udp(SOURCE, HOST, bytes(40), sport=40_000, dport=53)
    quoted6 = udp(FAR, CLIENT, bytes(40), sport=53, dport=40_000)
    return [(quoted4, kind, code) for kind, code in ((3, 3), (3, 4), (11, 0))] + [(quoted6, 1, 4), (quoted6, 2, 0)]


def _error(quoted: bytes, kind: int, code: int) -> bytes:
    """An ICMP or ICMPv6 error from who got `quoted`."""
    from vpnrs_core.packet.icmp import error

    packet = Packet.of(quoted)
    made = error(packet, kind, code, 1400 if (kind, code) in ((3, 4), (2, 0)) else 0, packet.dst)
    assert made is not None
    return made.data
