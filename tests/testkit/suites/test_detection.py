"""A suite is worth what it finds: implementations that break one promise each fail the test of that promise."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from vpnrs_core.builtin.memory import MemoryStore
from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.builtin.pool import PoolAllocator
from vpnrs_core.builtin.vpnrs1 import VpnrsProtocol
from vpnrs_core.interfaces import (
    Accept,
    Admit,
    Bearer,
    Body,
    Challenge,
    Contribution,
    Principal,
    Rate,
    Reject,
)
from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit.anyone import Anyone
from vpnrs_core.testkit.clock import Clock
from vpnrs_core.testkit.packets import udp
from vpnrs_core.testkit.suites import (
    AdmissionSuite,
    AllocatorSuite,
    AuthenticatorSuite,
    CodecSuite,
    GrantSuite,
    ProtocolSuite,
    SchedulerSuite,
    ServiceSuite,
    StageSuite,
    StoreSuite,
    WrapperSuite,
)
from vpnrs_core.testkit.suites.scheduler import KitLink


class Stage:
    """A stage that does what `act(stage, packet, out)` does with each packet."""

    NAME, ORDER = "bad", 1

    def __init__(self, act: Callable[..., Any]) -> None:
        self.act = act
        self.kept: list[Any] = []

    def bind(self, session: Any, wake_at: Any) -> Stage:
        self.session = session
        if self.act is _collects:
            self.kept.append(session)
        return self

    def process(self, direction: Any, batch: Any, out: Any, now: float) -> None:
        for packet in batch:
            self.act(self, packet, out)

    def mtu_changed(self, session: Any, mtu: int) -> None:
        if self.act is _deaf:
            raise TypeError("takes no such thing")


def _forward(stage: Stage, packet: Packet, out: Any) -> None:
    out.forward(packet)


def _collects(stage: Stage, packet: Packet, out: Any) -> None:
    out.forward(packet)


def _deaf(stage: Stage, packet: Packet, out: Any) -> None:
    out.forward(packet)


def _forgets(stage: Stage, packet: Packet, out: Any) -> None:
    if packet.protocol != 17:
        out.forward(packet)


def _twice(stage: Stage, packet: Packet, out: Any) -> None:
    out.forward(packet)
    out.drop(packet, "source")


def _raises(stage: Stage, packet: Packet, out: Any) -> None:
    out.forward(packet) if packet.segments == 1 else 1 / 0


def _makes_up(stage: Stage, packet: Packet, out: Any) -> None:
    out.drop(packet, "bad.made_up")


def _spoils(stage: Stage, packet: Packet, out: Any) -> None:
    header = bytearray(packet.data[: packet.header_length])
    header[8 if packet.version == 4 else 7] = 9  # the TTL, and no checksum
    out.forward(packet, packet.replace_headers(bytes(header)))


NOTHING: dict[str, Any] = {"reasons": (), "facts": {}}


@pytest.mark.parametrize(
    ("act", "promise"),
    [
        (_forgets, "test_every_packet_is_named_once"),
        (_twice, "test_every_packet_is_named_once"),
        (_raises, "test_every_packet_is_named_once"),
        (_raises, "test_overload_costs_packets_and_nothing_else"),
        (_makes_up, "test_every_packet_is_named_once"),
        (_spoils, "test_what_it_sends_on_is_sound"),
        (_deaf, "test_it_hears_of_changes"),
        (_collects, "test_sessions_that_ended_are_forgotten"),
    ],
)
def test_a_bad_stage_is_found(act: Callable[..., Any], promise: str) -> None:
    more: dict[str, Any] = {"role": "server", "size": 64} if promise == "test_every_packet_is_named_once" else {}
    with pytest.raises(AssertionError):
        getattr(StageSuite(), promise)(Stage(act), **NOTHING, **more)


def test_a_good_stage_passes() -> None:
    suite = StageSuite()
    for name in (name for name in dir(suite) if name.startswith("test_")):
        taken = inspect.signature(getattr(suite, name)).parameters
        given = {**NOTHING, "role": "client", "size": 1}
        # One that is collected is found elsewhere; this one keeps its last session itself.
        if name != "test_sessions_that_ended_are_forgotten":
            getattr(suite, name)(Stage(_forward), **{key: value for key, value in given.items() if key in taken})


class LetsAllIn(Anyone):
    def identify(self, credential: Any) -> bytes | None:
        return b"the same"

    def server(self) -> Any:
        class Half:
            async def begin(self, attempt: Any, credential: Any, channel: bytes) -> Any:
                return Accept(Principal("anyone")) if isinstance(credential, Bearer) else credential.body["token"]

            async def answer(self, body: Any) -> Any:
                return Accept(Principal("anyone"))

        return Half()


class SignsNothing:
    """Asks for a proof, and takes one that was made on another connection."""

    NAME, TAKES = "signs", frozenset({Body})

    def identify(self, credential: Any) -> None:
        return None

    def server(self) -> Any:
        return self

    def client(self) -> Any:
        return self

    async def begin(self, attempt: Any, credential: Any, channel: bytes) -> Any:
        return Challenge({"question": 1})

    async def prepare(self) -> None: ...

    def start(self) -> Any:
        return {"user": "alice"}

    def answer(self, body: Any, channel: bytes | None = None) -> Any:
        if channel is not None:
            return {"proof": "not of the channel"}
        return self._verdict(body)

    async def _verdict(self, body: Any) -> Any:
        return Accept(Principal("alice")) if body.get("proof") == "not of the channel" else Reject()


def test_bad_authenticators_are_found() -> None:
    suite, bad = AuthenticatorSuite(), LetsAllIn("alice")
    sides = (bad, bad, Anyone("mallory"))
    with pytest.raises(AssertionError):
        suite.test_a_wrong_credential_is_rejected(sides)
    with pytest.raises(AssertionError):
        suite.test_an_answer_that_nobody_asked_for_lets_nobody_in(bad)
    with pytest.raises(AssertionError):
        suite.test_a_credential_is_identified_by_all_of_it(sides)
    with pytest.raises(KeyError):
        suite.test_garbage_is_rejected_and_raises_nothing(bad, Body({}))
    with pytest.raises(AssertionError):
        suite.test_a_signed_answer_belongs_to_its_connection((SignsNothing(), SignsNothing(), None))


class Check:
    NAME = "bad"

    async def before(self, attempt: Any) -> Any:
        return None if attempt.fingerprint is None else Admit()

    async def after(self, attempt: Any, outcome: Any, authenticated: bool) -> None:
        outcome.name  # noqa: B018  a refusal's code has no principal's name


def test_a_bad_admission_check_is_found() -> None:
    with pytest.raises(AssertionError, match="returned None"):
        AdmissionSuite().test_a_verdict_comes_in_time_for_everyone(Check())

    class Told(Check):
        async def after(self, attempt: Any, outcome: Any, authenticated: bool) -> None:
            raise LookupError("an outcome that it does not know")

    with pytest.raises(LookupError):
        AdmissionSuite().test_every_outcome_can_be_told(Told())


def test_a_bad_grant_is_found() -> None:
    class Grant:
        NAME = "bad"

        async def contribute(self, attempt: Any, principal: Any) -> Any:
            return Contribution(down=Rate(1000, 10))  # no packet ever passes

    with pytest.raises(AssertionError):
        GrantSuite().test_what_it_adds_can_be_merged(Grant())


@pytest.mark.parametrize("how", ["ends", "raises", "stays", "leaves a task"])
def test_a_bad_service_is_found(how: str) -> None:
    class Service:
        NAME = "bad"

        async def run(self) -> None:
            if how == "ends":
                return
            if how == "raises":
                raise OSError("no such thing")
            if how == "leaves a task":
                self.task = asyncio.create_task(asyncio.sleep(60))
                await asyncio.sleep(60)
            for _ in range(3):
                try:
                    await asyncio.sleep(0.6)
                except asyncio.CancelledError:
                    pass

    suite = ServiceSuite()
    check = suite.test_it_leaves_no_task_behind if how == "leaves a task" else suite.test_it_can_be_started_again
    with pytest.raises(AssertionError):
        check(Service())


class Lossy(PoolAllocator):
    async def release(self, session_id: str, leases: Any) -> None:
        """Forgets to."""


class Hasty(PoolAllocator):
    async def release(self, session_id: str, leases: Any) -> None:
        """Frees an address whoever has it."""
        for lease in leases:
            for pool in self._pools:
                holder = pool.holder(lease.address)
                if holder is not None:
                    pool.give(lease.address, holder, self._now())


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (Lossy, "test_an_exhausted_pool_says_so_and_recovers"),
        (Hasty, "test_a_late_release_frees_nobody_elses_address"),
    ],
)
def test_a_bad_allocator_is_found(kind: type[PoolAllocator], promise: str) -> None:
    bad = kind([ip_network("10.0.0.0/28")], reuse_delay=0, now=Clock())
    with pytest.raises(Exception, match=r"no free|assert"):
        getattr(AllocatorSuite(), promise)(bad)


class Codec(PlainCodec):
    def __init__(self, how: str) -> None:
        self.how = how

    def open(self, *arguments: Any) -> Any:
        codec, how = super().open(*arguments), self.how

        class Bad:
            def encode(self, packet: Packet, max_payload: int, head: bytes = b"") -> Any:
                made = codec.encode(packet, 1 << 16 if how == "too long" else max_payload, head)
                return [] if how == "empty" and made is None else made

            def decode(self, payloads: Any, drop: Any, skip: int = 0) -> Any:
                if how == "raises":
                    return [Packet.of(p[skip:]) for p in payloads if Packet.of(p[skip:]).header]
                back = codec.decode(payloads, drop, skip)
                return back[::-1] if how == "reverses" else back

        return Bad()


@pytest.mark.parametrize(
    ("how", "promise", "more"),
    [
        ("too long", "test_what_does_not_fit_is_not_taken", {"limit": 200}),
        ("empty", "test_what_does_not_fit_is_not_taken", {"limit": 20}),
        ("raises", "test_what_a_stranger_sends_is_dropped_and_counted", {}),
        ("reverses", "test_many_packets_come_back_in_order", {}),
    ],
)
def test_a_bad_codec_is_found(how: str, promise: str, more: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r".*") as caught:
        getattr(CodecSuite(), promise)(Codec(how), **more)
    assert how == "raises" or caught.type is AssertionError


def test_a_bad_wrapper_is_found() -> None:
    class Wrapper:
        NAME, OVERHEAD, SCOPE = "bad", 1, "link"

        def wrapper(self) -> Any:
            return Wrapper()

        def wrap(self, datagram: bytes, now: float, out: Any) -> None:
            out.send(b"xx" + datagram)

        def unwrap(self, datagram: bytes, now: float, out: Any) -> bytes:
            return datagram[2:]

    with pytest.raises(AssertionError):
        WrapperSuite().test_what_is_wrapped_is_unwrapped(Wrapper())


def test_a_bad_scheduler_is_found() -> None:
    class Scheduler:
        NAME = "bad"
        first: Any = None

        def assign(self, batch: Any, links: Any, now: float) -> Any:
            self.first = self.first or links[0]
            return [(self.first, packet) for packet in batch if self.first.room()][::-1]

    suite, links = SchedulerSuite(), [KitLink(1, None, None, 0)]
    with pytest.raises(AssertionError):
        suite.test_no_packet_is_left_and_none_is_made_up(Scheduler(), links)
    with pytest.raises(AssertionError):
        suite.test_packets_keep_their_order_on_a_link(Scheduler(), [KitLink(1, None, None, 9)])
    with pytest.raises(AssertionError):
        suite.test_a_link_that_is_gone_is_not_used(Scheduler())


class Careless(MemoryStore):
    async def replace(self, key: str, data: bytes, expected_version: bytes, ttl: Any = None) -> bytes | None:
        return await self.put(key, data, ttl)

    async def increment(self, key: str, by: int, window: float) -> int:
        value = await self.get(key)
        await asyncio.sleep(0)
        number = int.from_bytes(value.data, "big") + by if value else by
        await self.put(key, number.to_bytes(8, "big"))
        return number


def test_a_bad_store_is_found() -> None:
    clock, suite = Clock(), StoreSuite()
    with pytest.raises(AssertionError):
        suite.test_only_one_replaces_a_version(Careless(clock))
    with pytest.raises(AssertionError):
        suite.test_counting_begins_again_after_the_window(Careless(clock), clock)


class Silent(VpnrsProtocol):
    """Tells nobody that its links are gone."""

    async def serve(self, connection: Any, gate: Any) -> None:
        opening = gate.open

        async def open_(*arguments: Any, **keys: Any) -> Any:
            link = await opening(*arguments, **keys)
            link.closed = lambda *a, **k: None
            return link

        gate.open = open_
        await super().serve(connection, gate)


def test_a_bad_protocol_is_found() -> None:
    for promise in (
        "test_a_link_is_closed_once_when_the_client_leaves",
        "test_a_link_is_closed_once_when_the_connection_is_lost",
        "test_a_server_that_stops_serving_closes_its_link",
    ):
        with pytest.raises((AssertionError, ValueError)):
            getattr(ProtocolSuite(), promise)(Silent())


def test_the_samples_are_sound() -> None:
    """What the suites send is not what they complain of."""
    from vpnrs_core.testkit.suites.samples import faults, from_client, to_client

    for packet in (*from_client(), *to_client()):
        assert not faults(packet), packet
    bad = bytearray(udp("10.0.0.2", "192.0.2.1", b"x"))
    bad[10] ^= 1
    assert faults(Packet.of(bytes(bad))) == ["the checksum of its IPv4 header is wrong"]
    bad[10] ^= 1
    bad[-1] ^= 1
    assert faults(Packet.of(bytes(bad))) == ["its L4 checksum is wrong"]
    assert ip_address("10.0.0.2").packed == from_client()[0].src
