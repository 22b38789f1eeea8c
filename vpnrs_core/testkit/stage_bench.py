"""A pipeline with two sessions for tests of stages: the real routing, checks, isolation and accounting, no device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Literal

from vpnrs_core.counters import DropCounts
from vpnrs_core.interfaces import Address, Contribution, Link, Packet, Principal, Refuse, StageFactory
from vpnrs_core.pipeline.pipeline import Peer, Pipeline, StageSpec
from vpnrs_core.pipeline.stages import BoundStage

POOLS = (ip_network("10.0.0.0/24"), ip_network("fd00::/64"))
OWN = (ip_address("10.0.0.1"), ip_address("fd00::1"))
A = (ip_address("10.0.0.2"), ip_address("fd00::2"))
B = (ip_address("10.0.0.3"), ip_address("fd00::3"))
FOREVER = 1e9


@dataclass(eq=False)
class KitSession:
    """interfaces.Session. `ended` and `changed` hold what was asked of it."""

    id: str = "a"
    principal: Principal = field(default_factory=lambda: Principal("alice"))
    leases: Sequence[Address] = A
    mtu: int = 1400
    links: Sequence[Link] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    ended: list[Refuse] = field(default_factory=list)
    changed: list[Contribution] = field(default_factory=list)

    def end(self, refuse: Refuse) -> None:
        self.ended.append(refuse)

    def change(self, contribution: Contribution) -> None:
        self.changed.append(contribution)


class StageBench:
    """Sessions `a` of alice (10.0.0.2, fd00::2) and `b` of bob (10.0.0.3, fd00::3), at a server whose own addresses are
    10.0.0.1 and fd00::1; a client has `a` alone. `failures` holds (plugin, where, exception) of every failing stage.

    `reasons` are the complete names of declared drop reasons."""

    def __init__(
        self,
        *stages: StageFactory,
        plugin: str = "test",
        reasons: Sequence[str] = (),
        role: Literal["server", "client"] = "server",
        isolation: bool = True,
        a: KitSession | None = None,
        b: KitSession | None = None,
    ) -> None:
        self.drops = DropCounts()
        for reason in reasons:
            self.drops.declare(*reason.split(".", 1))
        self.drops.close()
        self.failures: list[tuple[str, str, BaseException]] = []
        self.pipeline = Pipeline(
            role,
            [StageSpec(plugin, stage) for stage in stages],
            self.drops,
            lambda *failure: self.failures.append(failure),
            isolation=isolation,
            pools=POOLS,
            own_addresses=OWN,
        )
        self.pipeline.set_tun_mtu(1400)
        # At a client what arrives may be for any address: the whole world is routed through the tunnel.
        world = () if role == "server" else (ip_network("0.0.0.0/0"), ip_network("::/0"))
        self.a = self.pipeline.open(a or KitSession(), prefixes=world, mtu=1400)
        self.b: Peer | None = None
        if role == "server":
            self.b = self.pipeline.open(b or KitSession("b", Principal("bob"), B), mtu=1400)

    def to_tun(self) -> list[Packet]:
        """What the TUN would be given, taken out."""
        found = list(self.pipeline.to_tun)
        self.pipeline.to_tun.clear()
        return found

    def to_peer(self, peer: Peer | None = None, now: float = 0.0) -> list[Packet]:
        """What waits for a session's link (`a`'s by default), taken out."""
        return (peer or self.a).queue.pull(1 << 40, now)

    def settle(self, seconds: float = 3600.0, now: float = 0.0) -> float:
        """Let time pass, waking whoever asked to be woken, as often as it asks, at most a thousand times → the time at
        the end."""
        end = now + seconds
        for _ in range(1000):
            at = self.pipeline.next_wake()
            if at is None or at > end:
                break
            self.pipeline.wake(max(now, at))
        return end

    def stages(self) -> list[BoundStage]:
        """Those that live: of the instance, then of each session."""
        return [*self.pipeline._tun_stages, *(stage for peer in self.pipeline.peers.values() for stage in peer.stages)]

    def held(self) -> list[Packet]:
        return [entry.packet for stage in self.stages() for entry in stage.out.held.values()]
