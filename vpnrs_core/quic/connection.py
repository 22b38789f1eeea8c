"""One QUIC connection as the engine room sees it: streams, datagrams, events, liveness and its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from vpnrs_core.errors import PeerError
from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.engine import (
    Closed,
    ConnectionIdIssued,
    ConnectionIdRetired,
    EngineConnection,
    EngineEvent,
    HandshakeDone,
    SocketAddress,
    StreamData,
    StreamReset,
)
from vpnrs_core.interfaces.transport import ConnectionEvents, PathFacts, PayloadSizes, PeerIdentity
from vpnrs_core.quic.codes import CLOSE_DEADLINE, CLOSE_INTERNAL
from vpnrs_core.quic.identity import spki_of
from vpnrs_core.quic.sizes import ip_overhead
from vpnrs_core.quic.streams import ConnectionStreams
from vpnrs_core.quic.udp import address_text, join_host_port, local_host, path_payload

if TYPE_CHECKING:
    from vpnrs_core.quic.driver import Driver

log = logging.getLogger("vpnrs.quic")

# Datagrams that come before a receiver is set; the session protocol sets one as soon as it has the connection.
_MOST_EARLY_DATAGRAMS = 256
# An engine that fails to build packets this many times in a row will not recover.
_MOST_TRANSMIT_FAILURES = 3


class QuicConnection:
    """interfaces.Connection over an engine's connection. The driver calls `turn` whenever something happened."""

    def __init__(
        self,
        engine: EngineConnection,
        driver: Driver,
        *,
        is_client: bool,
        server_spki: bytes | None = None,
        deadline: Seconds | None = None,
        source: bytes = b"",
    ) -> None:
        """`deadline`: when it must have authenticated; `source`: the prefix it counts for until then."""
        self.engine = engine
        self.local = b""
        self.ended = False
        self.unauthenticated = not is_client
        self.source = source
        self.established: asyncio.Future[None] | None = None
        self.last_packets: Sequence[tuple[list[bytes], SocketAddress]] = []
        self._driver = driver
        self._is_client = is_client
        self._server_spki = server_spki
        self._deadline = deadline
        self._alpn: str | None = None
        self._peer = PeerIdentity(None)
        self._streams = ConnectionStreams(self)
        self._events: ConnectionEvents | None = None
        self._early: list[Callable[[ConnectionEvents], None]] = []
        self._early_datagrams: list[bytes] = []
        self._told_closed = False
        self._short = False
        self._watched: dict[int, int] = {}
        self._address: SocketAddress | None = None
        self._heard = driver.now()
        self._transmit_failures = 0
        self._collecting = False
        self._handle: asyncio.TimerHandle | None = None

    # interfaces.Connection

    @property
    def alpn(self) -> str:
        return self._alpn or ""

    @property
    def is_client(self) -> bool:
        return self._is_client

    @property
    def peer(self) -> PeerIdentity:
        return self._peer

    @property
    def server_spki(self) -> bytes:
        return (self._peer.spki if self._is_client else self._server_spki) or b""

    @property
    def path(self) -> PathFacts:
        host = local_host(self.local) or self._driver.host
        facts = self.engine.facts()
        loss = facts.get("loss")
        return PathFacts(
            local=join_host_port(host, self._driver.port),
            remote=address_text(self.engine.peer_address),
            rtt=self.engine.rtt(),
            loss=float(loss) if loss is not None else None,
            datagram_size=self.engine.payload,
        )

    @property
    def streams(self) -> ConnectionStreams:
        return self._streams

    def listen(self, events: ConnectionEvents) -> None:
        self._events = events
        early, self._early = self._early, []
        datagrams, self._early_datagrams = self._early_datagrams, []
        for deliver in early:
            self._contained(deliver)
        if datagrams:
            self._contained(lambda receiver: receiver.datagrams(datagrams))

    def max_datagram(self) -> int:
        return 0 if self.ended else self.engine.max_datagram()

    def room(self) -> int:
        if self.ended:
            return 0
        room = 0 if self._driver.clogged else self.engine.room(self._driver.now())
        if not room:
            self._short = True
        return room

    def send(self, datagrams: Sequence[bytes]) -> int:
        if self.ended:
            return len(datagrams)  # nobody will ever take them
        taken = 0
        if not self._driver.clogged:
            taken = self.engine.send(datagrams, self._driver.now())
        if taken < len(datagrams):
            self._short = True
        if taken:
            self._touch()
        return taken

    # interfaces.ProbedPath

    def payload_sizes(self) -> PayloadSizes:
        address = self.engine.peer_address
        most = min(self.engine.largest_payload, self._driver.payload_limit(address))
        return PayloadSizes(self.engine.payload, most, ip_overhead(address))

    def use_payload(self, size: int, *, settled: bool) -> None:
        if not self.ended:
            self.engine.use_payload(size, settled=settled)

    def probe(self, head: bytes, size: int) -> None:
        if not self.ended:
            self.engine.probe(head, size)
            self._touch()

    def path_rtt(self) -> Seconds | None:
        return self.engine.rtt()

    def path_hint(self) -> int | None:
        return path_payload(self.engine.peer_address)

    def authenticated(self) -> None:
        if self.unauthenticated:
            self.unauthenticated = False
            self._deadline = None
            self._driver.admitted(self)

    def close(self, code: int, reason: str = "") -> None:
        if self.ended:
            return
        if not self._is_client and self._alpn is None:
            # The client's address is not proven: one packet more may be more than three times what it sent.
            self._end(code, reason)
            self.disarm()
            self._driver.forget(self)
            return
        try:
            self.engine.close(code, reason)
        except Exception as error:
            self.abandon(error)
            return
        # The peer is told at the end of this turn; to the caller it is closed now.
        self._end(code, reason)
        self._touch()

    def facts(self) -> Mapping[str, str | int | float]:
        return {**self.engine.facts(), **self._driver.facts()}

    # What streams do

    def guarded(self, what: str, act: Callable[[EngineConnection], None]) -> None:
        """A stream operation; one that the engine refuses (the peer has stopped the stream) ends the connection."""
        if self.ended:
            return
        try:
            act(self.engine)
        except Exception as error:
            log.warning("%s: %s on a stream failed: %s", self._name(), what, error)
            self.close(CLOSE_INTERNAL, "stream unusable")
            return
        self._touch()

    def _touch(self) -> None:
        """Have a turn made, unless this connection's own is about to build packets anyway."""
        if not self._collecting:
            self._driver.touch(self)

    def unsent(self, stream: int) -> int:
        if self.ended:
            return 0
        unsent = self.engine.unsent(stream)
        if unsent:
            self._watched[stream] = unsent
        return unsent

    # Called by the driver

    def receive(self, data: bytes, segment: int, address: SocketAddress, local: bytes, now: Seconds) -> None:
        self._heard = now
        self.local = local
        self.engine.receive(data, segment, address, now)

    def turn(self, now: Seconds) -> Sequence[tuple[list[bytes], SocketAddress]]:
        """Deliver what came, let the receiver send, and return what leaves. Raises what the engine raises."""
        self._collecting = True
        try:
            self._deliver()
            self._invite(now)
        finally:
            self._collecting = False
        try:
            packets = self.engine.transmit(now)
        except Exception as error:
            # An engine may fail to build one packet and go on at its next timer.
            self._transmit_failures += 1
            if self._transmit_failures >= _MOST_TRANSMIT_FAILURES:
                raise
            log.warning("%s: building packets failed, trying again: %r", self._name(), error)
            packets = []
        else:
            self._transmit_failures = 0
        if self.ended and packets:
            self.last_packets = packets
        # Connection ids are issued while packets are built, and may be used before the next turn.
        for event in self.engine.events():
            self._take(event)
        return packets

    def after_send(self) -> None:
        """Packets of this turn are with the socket: stream bytes may have left, and more may fit."""
        if self._short and not self.ended and self.room():
            self._driver.touch(self)
        for stream, before in list(self._watched.items()):
            left = self.engine.unsent(stream)
            if left < before:
                del self._watched[stream]
                if left:
                    self._watched[stream] = left
                self._short = False
                self._contained(lambda receiver: receiver.writable())

    def arm(self) -> None:
        """Have the loop call at the next deadline. A handle that is early enough stays: it looks again when it fires,
        which is cheaper than moving it with every packet."""
        at = self._next()
        if at is None:
            self.disarm()
            self._driver.forget(self)
            return
        if self._handle is not None:
            if self._handle.when() <= at:
                return
            self._handle.cancel()
        self._handle = self._driver.call_at(at, self._fire)

    def disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _next(self) -> Seconds | None:
        at = self.engine.timer()
        if self.ended or at is None:
            return at
        if self._deadline is not None:
            at = min(at, self._deadline)
        elif self._alpn is not None:
            at = min(at, self._heard + self._driver.config.keepalive)
        return at

    def _fire(self) -> None:
        self._handle = None
        now = self._driver.now()
        try:
            self.engine.handle_timer(now)
            if not self.ended:
                self._check_time(now)
        except Exception as error:
            self.abandon(error)
            return
        self._driver.touch(self)

    def _check_time(self, now: Seconds) -> None:
        if self._deadline is not None:
            if now >= self._deadline:
                self.close(CLOSE_DEADLINE, "not authenticated in time")
        elif self._alpn is not None and now >= self._heard + self._driver.config.keepalive:
            self._heard = now
            self.engine.ping()

    # Events

    def _deliver(self) -> None:
        closed: Closed | None = None
        for event in self.engine.events():
            if isinstance(event, Closed):
                closed = event
            else:
                self._take(event)
        batch = self.engine.received_datagrams()
        if batch and not self.ended:
            if self._events is not None:
                self._contained(lambda receiver: receiver.datagrams(batch))
            else:
                self._early_datagrams += batch[: _MOST_EARLY_DATAGRAMS - len(self._early_datagrams)]
        if closed is not None:
            self._take(closed)
        self._notice_path()

    def _take(self, event: EngineEvent) -> None:
        match event:
            case ConnectionIdIssued(connection_id=connection_id):
                self._driver.demux.add(connection_id, self)
            case ConnectionIdRetired(connection_id=connection_id):
                self._driver.demux.remove(connection_id)
            case Closed(code=code, reason=reason):
                self._end(code, reason)
            case _ if self.ended:
                pass
            case HandshakeDone(alpn=alpn):
                self._established(alpn)
            case StreamData(stream=stream, data=data, end=end):
                self._tell(lambda receiver: receiver.stream_data(stream, data, end))
            case StreamReset(stream=stream, code=code):
                self._tell(lambda receiver: receiver.stream_reset(stream, code))

    def _established(self, alpn: str) -> None:
        self._alpn = alpn
        certificate = self.engine.peer_certificate()
        if certificate is not None:
            self._peer = PeerIdentity(spki_of(certificate), certificate)
        self._address = self.engine.peer_address
        if self.established is not None and not self.established.done():
            self.established.set_result(None)
        self._driver.established(self)

    def _notice_path(self) -> None:
        if self._address is not None and not self.ended and self.engine.peer_address != self._address:
            self._address = self.engine.peer_address
            self._tell(lambda receiver: receiver.path_changed(self.path))

    def path_shrank(self) -> None:
        self._tell(lambda receiver: receiver.path_changed(self.path))

    def _invite(self, now: Seconds) -> None:
        if self._short and self._events is not None and not self.ended and self.room():
            self._short = False
            self._contained(lambda receiver: receiver.writable())

    def _tell(self, deliver: Callable[[ConnectionEvents], None]) -> None:
        if self._events is None:
            self._early.append(deliver)
        else:
            self._contained(deliver)

    def _contained(self, deliver: Callable[[ConnectionEvents], None]) -> None:
        """The receiver's exceptions end this connection and no other."""
        assert self._events is not None
        try:
            deliver(self._events)
        except Exception:
            log.exception("%s: the receiver of events failed; closing the connection", self._name())
            self.close(CLOSE_INTERNAL, "internal error")

    def _end(self, code: int, reason: str) -> None:
        """Nothing goes to or from the session any more; the driver keeps the connection until it has drained."""
        if self.ended:
            return
        self.ended = True
        self._watched.clear()
        self._driver.ended(self)
        if self.established is not None and not self.established.done():
            self.established.set_exception(PeerError(reason or f"closed with code 0x{code:x}"))
        # The receiver may be in the middle of a call to us: it hears of the end from the loop.
        self._driver.soon(lambda: self._tell_closed(code, reason))

    def _tell_closed(self, code: int, reason: str) -> None:
        if not self._told_closed:
            self._told_closed = True
            self._tell(lambda receiver: receiver.closed(code, reason))

    def abandon(self, error: BaseException) -> None:
        """The engine itself is broken: forget the connection without a word to the peer."""
        log.error("%s: the QUIC engine failed; dropping the connection: %r", self._name(), error)
        self._end(CLOSE_INTERNAL, "internal error")
        self.disarm()
        self._driver.forget(self)

    def _name(self) -> str:
        try:
            return f"connection with {address_text(self.engine.peer_address)}"
        except Exception:  # before its first packet a server does not know the peer
            return "connection"
