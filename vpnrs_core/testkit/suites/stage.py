"""The contract of packet stages: each packet named once, nothing lost unaccounted, nothing kept when it is over."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, ClassVar, Literal

import pytest

from vpnrs_core.interfaces import Packet, Principal
from vpnrs_core.testkit.load import Loaded
from vpnrs_core.testkit.stage_bench import A, B, KitSession, StageBench
from vpnrs_core.testkit.suites.base import Suite, is_named
from vpnrs_core.testkit.suites.samples import faults, from_client, to_client

# What the contract counts against a stage.
_BROKEN = ("stage_error", "bad_reason")
# More than a stage may hold: 1 MiB.
_MANY = 400


class StageSuite(Suite):
    """`subject` is the stage's factory. `ingress` and `egress` may be overridden by packets that concern the stage."""

    kind: ClassVar[str] = "stage"

    @pytest.fixture
    def reasons(self, loaded: Loaded) -> Iterable[str]:
        """The plugin's drop reasons, complete."""
        return tuple(loaded.plugins.drop_reasons)

    @pytest.fixture
    def facts(self) -> dict[str, Any]:
        """Facts of the sessions' grants, by plugin."""
        return {}

    def ingress(self) -> list[Packet]:
        return from_client()

    def egress(self) -> list[Packet]:
        return to_client()

    def bench(
        self, subject: Any, reasons: Iterable[str], facts: dict[str, Any], role: Literal["server", "client"] = "server"
    ) -> StageBench:
        b = KitSession("b", Principal("bob"), B, facts=facts)
        owner = next((reason.partition(".")[0] for reason in reasons), self.plugin or "test")
        return StageBench(
            subject, plugin=owner, reasons=tuple(reasons), role=role, a=KitSession(facts=facts, leases=A), b=b
        )

    def test_it_has_a_name_an_order_and_one_side(self, subject: Any) -> None:
        assert is_named(subject)
        assert isinstance(subject.ORDER, int)
        sides = [side for side in ("tun", "bind") if callable(getattr(subject, side, None))]
        assert len(sides) == 1, f"a stage is tun-side (`tun`) or peer-side (`bind`), this has {sides}"

    @pytest.mark.parametrize("role", ["server", "client"])
    @pytest.mark.parametrize("size", [1, 64])
    def test_every_packet_is_named_once(
        self, subject: Any, reasons: Any, facts: Any, role: Literal["server", "client"], size: int
    ) -> None:
        bench = self.bench(subject, reasons, facts, role)
        for number, batch in enumerate(_batches(self.ingress(), size)):
            bench.pipeline.ingress(bench.a, batch, float(number))
        for number, batch in enumerate(_batches(self.egress(), size)):
            bench.pipeline.egress(batch, 100.0 + number)
        bench.settle(now=200.0)
        self.kept_the_contract(bench)

    def test_what_it_sends_on_is_sound(self, subject: Any, reasons: Any, facts: Any) -> None:
        """Lengths, checksums and vnet headers are such that a kernel takes them."""
        bench = self.bench(subject, reasons, facts)
        bench.pipeline.ingress(bench.a, self.ingress(), 0.0)
        bench.pipeline.egress(self.egress(), 0.0)
        bench.settle()
        for packet in (*bench.to_tun(), *bench.to_peer(), *bench.to_peer(bench.b)):
            assert not faults(packet), packet
        self.kept_the_contract(bench)

    def test_overload_costs_packets_and_nothing_else(self, subject: Any, reasons: Any, facts: Any) -> None:
        bench = self.bench(subject, reasons, facts)
        everything = [packet for packet in (*self.ingress(), *self.egress()) if packet.segments > 1]
        for number in range(_MANY):
            bench.pipeline.ingress(bench.a, [p for p in everything if p.src in _packed(A)], number / 1000)
            bench.pipeline.egress([p for p in everything if p.dst in _packed(A)], number / 1000)
            bench.to_tun()
        assert all(stage.out.held_bytes <= 1 << 20 for stage in bench.stages())
        self.kept_the_contract(bench)

    def test_it_hears_of_changes(self, subject: Any, reasons: Any, facts: Any) -> None:
        bench = self.bench(subject, reasons, facts)
        session = bench.a.session
        assert isinstance(session, KitSession)
        bench.pipeline.ingress(bench.a, self.ingress(), 0.0)
        session.leases = (A[0], ip_address("10.0.0.9"))
        bench.pipeline.change(bench.a, mtu=1300)
        bench.pipeline.set_tun_mtu(1300)
        bench.pipeline.egress(self.egress(), 1.0)
        bench.pipeline.close(bench.a, "the test is over")
        self.kept_the_contract(bench)

    def test_nothing_is_held_for_a_session_that_ended(self, subject: Any, reasons: Any, facts: Any) -> None:
        bench = self.bench(subject, reasons, facts)
        bench.pipeline.ingress(bench.a, self.ingress(), 0.0)
        bench.pipeline.egress(self.egress(), 0.0)
        if hasattr(subject, "bind"):
            mine = list(bench.a.stages)
            bench.pipeline.close(bench.a, "gone")
            assert not [stage for stage in mine if stage.out.held]
        bench.settle()
        assert not [packet for packet in bench.held() if packet.session is bench.a.session]
        self.kept_the_contract(bench)

    def test_sessions_that_ended_are_forgotten(self, subject: Any, reasons: Any, facts: Any) -> None:
        """Whoever keeps something of every session grows until the server ends."""
        bench = self.bench(subject, reasons, facts)
        gone = []
        for number in range(20):
            session = KitSession(f"s{number}", Principal("carol"), (ip_address(f"10.0.0.{100 + number}"),), facts=facts)
            peer = bench.pipeline.open(session, mtu=1400)
            bench.pipeline.ingress(peer, [p.with_session(None) for p in self.ingress()], 0.0)
            bench.pipeline.close(peer, "bye")
            gone.append(weakref.ref(session))
            del session, peer
        bench.to_tun()
        bench.settle()
        bench.to_tun()
        gc.collect()
        kept = sum(each() is not None for each in gone)
        assert not kept, f"{kept} of 20 ended sessions are kept alive"

    def kept_the_contract(self, bench: StageBench) -> None:
        told = [f"{where}: {type(error).__name__}: {error}" for _, where, error in bench.failures]
        assert not told, f"the stage failed: {told[:3]}"
        assert not {reason: n for reason, n in bench.drops.nonzero().items() if reason in _BROKEN}


def _batches(packets: list[Packet], size: int) -> Iterable[list[Packet]]:
    return (packets[at : at + size] for at in range(0, len(packets), size))


def _packed(addresses: Iterable[Any]) -> set[bytes]:
    return {address.packed for address in addresses}
