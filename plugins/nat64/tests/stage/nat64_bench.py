"""A server's real pipeline with the plugin's stage and two clients, a and b, without a TUN and without links.

The pools are 10.0.0.0/24 and fd00::/64, the translator is 10.0.0.254, the prefix 64:ff9b:1::/96 unless said otherwise.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, _ICMPv6
from vpnrs_nat64.config import Nat64Config
from vpnrs_nat64.plugin import Plugin

from vpnrs_core.config.models import AddressesConfig, ServerConfig
from vpnrs_core.counters import DropCounts, Registry
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.pipeline.pipeline import Peer, Pipeline, StageSpec
from vpnrs_core.testkit import packets

POOLS = (ip_network("10.0.0.0/24"), ip_network("fd00::/64"))
HOST, OTHER, SOURCE = "192.0.2.9", "198.51.100.7", "10.0.0.254"
SYN, ACK, FIN, RST = 2, 16, 1, 4


@dataclass(eq=False)
class Client:
    """The part of interfaces.Session that the pipeline and the stage read."""

    id: str
    leases: list[Any]
    mtu: int = 1280

    @property
    def principal(self) -> Any:
        return SimpleNamespace(name=f"principal of {self.id}")


@dataclass
class Ctx:
    """interfaces.Context, as far as the plugin uses it."""

    role: str = "server"
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("test"))
    events: list[Any] = field(default_factory=list)
    registry: Registry = field(default_factory=Registry)
    dice: random.Random = field(default_factory=lambda: random.Random(64))
    clock: float = 0.0

    def now(self) -> float:
        return self.clock

    def random(self, n: int) -> bytes:
        return self.dice.randbytes(n)

    def emit(self, event: Any) -> None:
        self.events.append(event)

    def counter(self, name: str, help: str, labels: Any = ()) -> Any:
        return self.registry.counter("nat64", name, help, labels)


class Bench:
    """`now` is the time that the next call is made at. Packets go in as bytes of IP packets and come out so."""

    def __init__(self, *, isolation: bool = True, mtu: int = 1280, **table: Any) -> None:
        self.ctx = Ctx()
        table = {"prefix": "64:ff9b:1::/96", "source_ip": SOURCE, **table}
        self.plugin = Plugin(Nat64Config(**table), self.ctx)
        server = ServerConfig(addresses=AddressesConfig(ipv4=str(POOLS[0]), ipv6=str(POOLS[1])))
        self.findings = self.plugin.vpnrs_check(server)
        self.prefix = str(self.plugin._config.prefix.network_address)
        self.drops = DropCounts()
        for reason in Plugin.DROP_REASONS:
            self.drops.declare("nat64", reason)
        self.drops.close()
        self.failures: list[tuple[str, str, BaseException]] = []
        self.pipeline = Pipeline(
            "server",
            [StageSpec("nat64", factory) for factory in self.plugin.vpnrs_register_packet_stages()],
            self.drops,
            lambda *failure: self.failures.append(failure),
            isolation=isolation,
            pools=POOLS,
            own_addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")),
        )
        self.stage = self.plugin._translator._stage
        self.now = 1000.0
        self.a = self.join("a", "fd00::2", mtu)
        self.b = self.join("b", "fd00::3", mtu)

    def join(self, name: str, address: str, mtu: int = 1280) -> Peer:
        return self.pipeline.open(Client(name, [ip_address(address)], mtu), mtu=mtu)

    def far(self, address: str = HOST) -> str:
        """The IPv6 address that stands for an IPv4 one."""
        return self.prefix + address

    def send(self, *data: bytes | Packet, peer: Peer | None = None) -> list[bytes]:
        """From a client (a) → what is for the TUN."""
        batch = [each if isinstance(each, Packet) else Packet.of(each) for each in data]
        self.pipeline.ingress(peer or self.a, batch, self.now)
        return self.tun()

    def receive(self, *data: bytes | Packet, peer: Peer | None = None) -> list[bytes]:
        """From outside → what is for a client (a)."""
        batch = [each if isinstance(each, Packet) else Packet.of(each) for each in data]
        self.pipeline.egress(batch, self.now)
        return self.queued(peer)

    def tun(self) -> list[bytes]:
        found = [part for packet in self.pipeline.to_tun for part in segment(packet)]
        self.pipeline.to_tun.clear()
        return found

    def queued(self, peer: Peer | None = None) -> list[bytes]:
        return [part for packet in (peer or self.a).queue.pull(10**9, self.now) for part in segment(packet)]

    def wait(self, seconds: float) -> list[bytes]:
        """Time passes, timers run → what is for the TUN."""
        until = self.now + seconds
        while (at := self.pipeline.next_wake()) is not None and at <= until:
            self.now = max(self.now, at)
            self.pipeline.wake(self.now)
        self.now = until
        return self.tun()

    def dropped(self) -> dict[str, int]:
        return self.drops.nonzero()

    def connect(self, sport: int = 40000, host: str = HOST) -> tuple[Any, Any]:
        """A TCP handshake → its first packet at the host, and its second at the client, as scapy has them."""
        first = IP(self.send(packets.tcp("fd00::2", self.far(host), sport=sport, dport=80, flags=SYN))[0])
        port = first[TCP].sport
        back = packets.tcp(host, SOURCE, sport=80, dport=port, flags=SYN | ACK)
        return first, IPv6(self.receive(back)[0])


def sound(data: bytes) -> Any:
    """Decoded by scapy, all checksums compared with its own."""
    kind = IP if data[0] >> 4 == 4 else IPv6
    packet = kind(data)
    again = kind(data)
    if kind is IP:
        del again.chksum
    for layer in (TCP, UDP, ICMP):
        if layer in again and not (kind is IP and (packet.frag or packet.flags.MF)):
            del again[layer].chksum
    for layer in again.iterpayloads():
        if isinstance(layer, _ICMPv6) and layer.underlayer.name == "IPv6" and layer.underlayer is again:
            del layer.cksum
    assert bytes(again) == data, f"{packet.summary()}\n{bytes(again).hex()}\n{data.hex()}"
    return packet
