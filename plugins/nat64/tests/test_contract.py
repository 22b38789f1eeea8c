"""The contract of packet stages, with what NAT64 translates in both directions."""

from vpnrs_core.interfaces import Packet
from vpnrs_core.testkit.packets import echo, super_tcp, tcp, udp
from vpnrs_core.testkit.suites import CommandSuite, StageSuite

TABLE = {"prefix": "64:ff9b:1::/96", "source_ip": "10.0.0.200"}
FAR = "64:ff9b:1::198.51.100.7"


class TestStage(StageSuite):
    plugin = "nat64"
    table = TABLE

    def ingress(self) -> list[Packet]:
        translated = [
            Packet.of(udp("fd00::2", FAR, b"question", dport=53)),
            Packet.of(tcp("fd00::2", FAR, b"GET /", dport=80)),
            Packet.of(echo("fd00::2", FAR)),
            super_tcp("fd00::2", FAR, bytes(5000), 1200, dport=443),
        ]
        return [*translated, *super().ingress()]


class TestStats(CommandSuite):
    plugin = "nat64"
    table = TABLE
    name = "stats"
