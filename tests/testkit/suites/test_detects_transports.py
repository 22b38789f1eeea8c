"""Transports that break one promise each fail the test of that promise: the built-in one, spoiled."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.identity import make_certificate, pin_of
from vpnrs_core.quic.settings import QuicConfig, ServerIdentity
from vpnrs_core.quic.transport import QuicTransport
from vpnrs_core.testkit.suites import TransportSuite
from vpnrs_core.testkit.suites import transport as suite_module

PAIR = make_certificate("127.0.0.1")
# What a promise fails by: its own assertion, or that what it waits for does not come.
FAILS = (AssertionError, TimeoutError, OSError)


class Wrapped:
    """Passes on what it does not have itself."""

    def __init__(self, sound: Any) -> None:
        self.sound = sound

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sound, name)


class Connection(Wrapped):
    """`Between` stands between the connection and its receiver."""

    Between: type[Wrapped] = Wrapped

    def listen(self, heard: Any) -> None:
        self.sound.listen(self.Between(heard))


class Transport(Wrapped):
    """The built-in transport; a subclass breaks a promise."""

    connection: type[Connection] = Connection

    async def listen(self, where: str, alpns: Sequence[str], on_connection: Callable[[Any], None]) -> Any:
        return await self.sound.listen(where, alpns, lambda made: on_connection(self.connection(made)))

    async def dial(self, where: str, alpns: Sequence[str], *, via: str | None = None) -> Any:
        return self.connection(await self.sound.dial(where, alpns, via=via))


# Faults of a connection


class Keyless(Connection):
    server_spki = b""


class Nobody(Connection):
    @property
    def peer(self) -> Any:
        return dataclasses.replace(self.sound.peer, spki=None)


class SameIds(Connection):
    @property
    def streams(self) -> Any:
        streams = Wrapped(self.sound.streams)
        streams.open = lambda *, unidirectional=False: 0  # type: ignore[attr-defined]
        return streams


class Unordered(Connection):
    class Between(Wrapped):
        held: tuple[Any, ...] = ()

        def stream_data(self, stream: int, data: bytes, end: bool) -> None:
            if not self.held and len(data) > 1:
                data, self.held = data[1:], (data[:1],)
            self.sound.stream_data(stream, data, end)


class HidesResets(Connection):
    class Between(Wrapped):
        def stream_reset(self, stream: int, code: int) -> None: ...


class Cuts(Connection):
    class Between(Wrapped):
        def datagrams(self, batch: Sequence[bytes]) -> None:
            self.sound.datagrams([datagram[:-1] for datagram in batch])


class HasNoRoomForDatagrams(Connection):
    def max_datagram(self) -> int:
        return 1000


class EndsTwice(Connection):
    class Between(Wrapped):
        def closed(self, code: int, reason: str) -> None:
            self.sound.closed(code, reason)
            self.sound.closed(code, reason)


class EndsInSilence(Connection):
    class Between(Wrapped):
        def closed(self, code: int, reason: str) -> None: ...


class LosesTheReason(Connection):
    class Between(Wrapped):
        def closed(self, code: int, reason: str) -> None:
            self.sound.closed(0, "")


class RaisesLate(Connection):
    over = False

    def close(self, code: int, reason: str = "") -> None:
        self.over = True
        self.sound.close(code, reason)

    def send(self, datagrams: Sequence[bytes]) -> int:
        if self.over:
            raise BrokenPipeError("closed")
        return self.sound.send(datagrams)  # type: ignore[no-any-return]


# Faults of a transport


class Lacking(Transport):
    LACKS = frozenset({"speed"})


class NoUnderlay(Transport):
    def underlay(self) -> Sequence[str]:
        return []


class Talkative(Transport):
    """Its errors are the system's."""

    async def dial(self, where: str, alpns: Sequence[str], *, via: str | None = None) -> Any:
        if hasattr(self, "dialled"):
            raise ConnectionRefusedError(where)
        self.dialled = True
        return await super().dial(where, alpns, via=via)


class SpeaksAnything(Transport):
    async def dial(self, where: str, alpns: Sequence[str], *, via: str | None = None) -> Any:
        return await super().dial(where, [suite_module.ALPN], via=via)


class LeavesASocket(Transport):
    left: list[socket.socket]

    async def dial(self, where: str, alpns: Sequence[str], *, via: str | None = None) -> Any:
        self.left = [socket.socket() for _ in range(8)]
        return await super().dial(where, alpns, via=via)


class LeavesATask(Transport):
    async def dial(self, where: str, alpns: Sequence[str], *, via: str | None = None) -> Any:
        self.task = asyncio.create_task(asyncio.sleep(60))
        return await super().dial(where, alpns, via=via)


class LeavesClients(Transport):
    """A server that goes, and tells nobody."""

    async def close(self) -> None:
        if getattr(self, "asked", False):
            await self.sound.close()
        self.asked = True


def of(kind: type[Connection]) -> type[Transport]:
    return type(kind.__name__, (Transport,), {"connection": kind})


FOUND = [
    (Lacking, "test_it_has_a_name_and_says_what_it_lacks"),
    (of(Keyless), "test_both_ends_agree_on_protocol_and_server"),
    (of(Nobody), "test_both_ends_agree_on_protocol_and_server"),
    (of(SameIds), "test_streams_are_ordered_and_ids_do_not_meet"),
    (of(Unordered), "test_streams_are_ordered_and_ids_do_not_meet"),
    (of(HidesResets), "test_a_reset_is_told"),
    (of(Cuts), "test_datagrams_arrive_whole_or_there_are_none"),
    (of(HasNoRoomForDatagrams), "test_datagrams_arrive_whole_or_there_are_none"),
    (of(EndsTwice), "test_an_end_is_told_once_with_code_and_reason"),
    (of(EndsInSilence), "test_an_end_is_told_once_with_code_and_reason"),
    (of(LosesTheReason), "test_an_end_is_told_once_with_code_and_reason"),
    (of(RaisesLate), "test_an_end_is_told_once_with_code_and_reason"),
    (of(EndsInSilence), "test_a_server_that_closes_tells_its_clients"),
    (LeavesClients, "test_a_server_that_closes_tells_its_clients"),
    (Talkative, "test_where_nobody_listens_is_an_error_of_vpnrs"),
    (LeavesASocket, "test_nothing_is_left_open"),
    (LeavesATask, "test_nothing_is_left_open"),
    (NoUnderlay, "test_it_names_what_it_sends_to"),
]


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Callable[[type[Transport]], tuple[Transport, Transport]]]:
    (tmp_path / "c.pem").write_bytes(PAIR.certificate)
    (tmp_path / "k.pem").write_bytes(PAIR.key)
    made: list[Transport] = []

    def make(kind: type[Transport]) -> tuple[Transport, Transport]:
        engines = {"aioquic": AioquicEngine()}
        server = QuicTransport(QuicConfig(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem"), engines)
        client = QuicTransport(QuicConfig(), engines, ServerIdentity(server_pin=pin_of(PAIR.certificate)))
        made.extend((kind(server), kind(client)))
        return made[-2], made[-1]

    yield make
    for each in made:
        for left in getattr(each, "left", ()):
            left.close()


@pytest.mark.parametrize(("kind", "promise"), FOUND, ids=[f"{kind.__name__}-{p[5:25]}" for kind, p in FOUND])
def test_a_bad_transport_is_found(sides: Any, kind: type[Transport], promise: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(suite_module, "PATIENCE", 1.0)
    arguments = {"closer": "client"} if "an_end" in promise else {}
    with pytest.raises(FAILS):
        getattr(TransportSuite(), promise)(sides(kind), **arguments)


def test_one_that_speaks_what_it_was_not_asked_for_is_found(sides: Any) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        TransportSuite().test_no_common_protocol_is_refused(sides(SpeaksAnything))


@pytest.mark.parametrize("promise", sorted({promise for _, promise in FOUND if "nobody_listens" not in promise}))
def test_one_that_is_only_wrapped_passes(sides: Any, promise: str) -> None:
    getattr(TransportSuite(), promise)(sides(Transport), **({"closer": "server"} if "an_end" in promise else {}))
