"""A server's pipeline with two sessions, for the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from vpnrs_core.counters import DropCounts
from vpnrs_core.pipeline.pipeline import Peer, Pipeline, StageSpec


@dataclass(eq=False)
class FakeSession:
    """The part of interfaces.Session that stages and the pipeline read."""

    id: str
    leases: list[Any]
    mtu: int = 1400
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Bench:
    """A pipeline with sessions a (10.0.0.2, fd00::2) and b (10.0.0.3, fd00::3), and what it reported."""

    pipeline: Pipeline
    drops: DropCounts
    failures: list[tuple[str, str, BaseException]]
    a: Peer
    b: Peer

    def tun(self) -> list[bytes]:
        """IP packets for the TUN, taken out."""
        found = [packet.data for packet in self.pipeline.to_tun]
        self.pipeline.to_tun.clear()
        return found

    @staticmethod
    def queued(peer: Peer, now: float = 0.0) -> list[bytes]:
        """IP packets of the peer's queue, taken out."""
        return [packet.data for packet in peer.queue.pull(10**9, now)]


POOLS = (ip_network("10.0.0.0/24"), ip_network("fd00::/64"))


def build_bench(*stages: Any, isolation: bool = True, reasons: tuple[str, ...] = (), **open_a: Any) -> Bench:
    """`stages` are factories, each its own plugin by NAME; `reasons` are declared for the plugin `test`; `open_a`:
    arguments of Pipeline.open for session a."""
    drops = DropCounts()
    for reason in reasons:
        drops.declare("test", reason)
    drops.close()
    failures: list[tuple[str, str, BaseException]] = []
    pipeline = Pipeline(
        "server",
        [StageSpec(stage.NAME, stage) for stage in stages],
        drops,
        lambda *failure: failures.append(failure),
        isolation=isolation,
        pools=POOLS,
        own_addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")),
    )
    a = pipeline.open(FakeSession("a", [ip_address("10.0.0.2"), ip_address("fd00::2")]), **{"mtu": 1400, **open_a})
    b = pipeline.open(FakeSession("b", [ip_address("10.0.0.3"), ip_address("fd00::3")]), mtu=1400)
    return Bench(pipeline, drops, failures, a, b)
