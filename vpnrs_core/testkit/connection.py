"""A linked pair of in-memory connections (interfaces.Connection) with delay, loss and reordering, on any clock."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vpnrs_core.interfaces.transport import ConnectionEvents, PathFacts, PeerIdentity, Streams

SERVER_SPKI = b"the test server's public key"
CallLater = Callable[[float, Callable[[], None]], object]


@dataclass
class FakePath:
    """How the pair behaves; may be changed at any time. `delay` in seconds; `loss` and `reorder` are fractions of
    the datagrams, a reordered one comes a delay later; `cut`: nothing arrives any more, nobody is told."""

    delay: float = 0.01
    loss: float = 0.0
    reorder: float = 0.0
    datagram_size: int = 1324
    datagram_room: int = 1 << 20
    cut: bool = False
    seed: int = 1


class FakeStreams:
    """interfaces.Streams. While `held`, what is written waits as unsent."""

    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection
        self._next = {False: 0 if connection.is_client else 1, True: 2 if connection.is_client else 3}
        self._waiting: dict[int, list[tuple[bytes, bool]]] = {}
        self.held = False
        self._unsent: Counter[int] = Counter()
        self.written: defaultdict[int, bytearray] = defaultdict(bytearray)

    def open(self, *, unidirectional: bool = False) -> int:
        stream = self._next[unidirectional]
        self._next[unidirectional] += 4
        return stream

    def write(self, stream: int, data: bytes, *, end: bool = False) -> None:
        if self._connection.closed_with is not None:
            raise ConnectionError("written to a connection that is closed")
        self.written[stream] += data
        self._unsent[stream] += len(data)
        self._waiting.setdefault(stream, []).append((data, end))
        if not self.held:
            self.flush()

    def reset(self, stream: int, code: int) -> None:
        self._waiting.pop(stream, None)
        self._unsent.pop(stream, None)
        self._connection.deliver(lambda events: events.stream_reset(stream, code))

    def unsent(self, stream: int) -> int:
        return self._unsent[stream]

    def flush(self) -> None:
        """Hand over what waits."""
        waiting, self._waiting = self._waiting, {}
        self._unsent.clear()
        for stream, chunks in waiting.items():
            for data, end in chunks:
                self._connection.deliver(lambda e, s=stream, d=data, f=end: e.stream_data(s, d, f))  # type: ignore[misc]


class FakeConnection:
    """One end. `closed_with` is (code, reason) once closed; `was_authenticated` as the protocol said."""

    def __init__(self, name: str, is_client: bool, path: FakePath, call_later: CallLater, alpn: str) -> None:
        self.name = name
        self.alpn = alpn
        self.is_client = is_client
        self.peer = PeerIdentity(SERVER_SPKI if is_client else None)
        self.server_spki = SERVER_SPKI
        self.fake_path = path
        self.other: FakeConnection = self
        self.closed_with: tuple[int, str] | None = None
        self.was_authenticated = False
        self.datagrams_sent: list[bytes] = []
        self._streams = FakeStreams(self)
        self._call_later = call_later
        self._random = random.Random(path.seed)
        self._events: ConnectionEvents | None = None
        self._in_order: deque[Callable[[ConnectionEvents], None]] = deque()
        self._early: list[Callable[[ConnectionEvents], None]] = []

    @property
    def streams(self) -> Streams:
        return self._streams

    @property
    def fake_streams(self) -> FakeStreams:
        return self._streams

    @property
    def path(self) -> PathFacts:
        return PathFacts(self.name, self.other.name, datagram_size=self.fake_path.datagram_size)

    def listen(self, events: ConnectionEvents) -> None:
        self._events = events
        early, self._early = self._early, []
        for event in early:
            event(events)

    def max_datagram(self) -> int:
        return self.fake_path.datagram_size

    def room(self) -> int:
        return 0 if self._streams.unsent(0) or self.closed_with else self.fake_path.datagram_room

    def send(self, datagrams: Sequence[bytes]) -> int:
        room = self.room()
        taken = 0
        for datagram in datagrams:
            if len(datagram) > self.fake_path.datagram_size:
                raise ValueError(f"a datagram of {len(datagram)} bytes; {self.fake_path.datagram_size} fit")
            if len(datagram) > room:
                break
            room -= len(datagram)
            taken += 1
            self._send_one(datagram)
        return taken

    def _send_one(self, datagram: bytes) -> None:
        self.datagrams_sent.append(datagram)
        if self._random.random() < self.fake_path.loss:
            return
        if self._random.random() < self.fake_path.reorder:
            self._call_later(2 * self.fake_path.delay, lambda: self._arrive(lambda e: e.datagrams([datagram])))
        else:
            self.deliver(lambda events: events.datagrams([datagram]))

    def authenticated(self) -> None:
        self.was_authenticated = True

    def facts(self) -> Mapping[str, str | int | float]:
        return {"engine": "fake"}

    def close(self, code: int, reason: str = "") -> None:
        """Both ends hear of it, the other one after the delay."""
        if self.closed_with is not None:
            return
        self.deliver(lambda _: self.other.hear_close(code, reason))
        self.hear_close(code, reason)

    def hear_close(self, code: int, reason: str) -> None:
        """The connection has ended: the last event, once."""
        if self.closed_with is not None:
            return
        self.closed_with = (code, reason)
        self._tell(lambda events: events.closed(code, reason))

    def deliver(self, event: Callable[[ConnectionEvents], None]) -> None:
        """Let the other end see an event after the delay, in order, unless the path is cut or it has closed."""
        self._in_order.append(event)
        # Timers of one moment may fire in any order, so each takes the oldest event, not its own.
        self._call_later(self.fake_path.delay, lambda: self._arrive(self._in_order.popleft()))

    def _arrive(self, event: Callable[[ConnectionEvents], None]) -> None:
        if not self.fake_path.cut and self.other.closed_with is None:
            self.other._tell(event)

    def _tell(self, event: Callable[[ConnectionEvents], None]) -> None:
        if self._events is None:
            self._early.append(event)
        else:
            event(self._events)


def connection_pair(
    path: FakePath | None = None, *, call_later: CallLater | None = None, alpn: str = "vpnrs/1"
) -> tuple[FakeConnection, FakeConnection]:
    """→ (client, server). `call_later` is a Clock's or, by default, the running loop's."""
    path = path or FakePath()
    later = call_later or asyncio.get_running_loop().call_later
    client = FakeConnection("192.0.2.1:40000", True, path, later, alpn)
    server = FakeConnection("192.0.2.2:4433", False, path, later, alpn)
    client.other, server.other = server, client
    return client, server
