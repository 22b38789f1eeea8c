"""What both sides of `vpnrs/1` share: capsules in and out, timers, liveness, the end of the connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from vpnrs_core.builtin.lanes import DatagramLane, StreamLane
from vpnrs_core.errors import PeerError
from vpnrs_core.interfaces.common import Code, Seconds
from vpnrs_core.interfaces.transport import Connection, PathFacts
from vpnrs_core.session.client_handshake import ClientHandshake
from vpnrs_core.session.handshake import Action, Failed, Finish, Lost, PongSeen, Send, Tell, Violation
from vpnrs_core.session.liveness import Liveness
from vpnrs_core.session.server_handshake import ServerHandshake
from vpnrs_core.wire.capsule import CapsuleParser
from vpnrs_core.wire.codepoints import (
    CLOSE_CODES,
    CLOSE_DEAD,
    CONTROL_LIMITS,
    CONTROL_STREAM,
    LANE_LIMITS,
    LANE_STREAM,
    PROBE_CONTEXT,
)
from vpnrs_core.wire.messages import Ext, Ping, encode_message
from vpnrs_core.wire.varint import encode_varint

log = logging.getLogger("vpnrs.protocol")

# Seconds that the last message may take to leave before the connection closes.
FLUSH_DEADLINE = 1.0
FLUSH_POLL = 0.01
# A peer that asks and does not read its answers is let go.
MAX_CONTROL_UNSENT = 256 * 1024
# Capsules of the control stream a second, and at once after a quiet time. A kilobyte counts like a capsule, so that one
# without end is none of the many that are not sent.
CAPSULES_PER_SECOND = 1000.0
CAPSULES_AT_ONCE = 4000.0
_PROBE_HEAD = encode_varint(PROBE_CONTEXT)

S = TypeVar("S", bound="Side")
P = ParamSpec("P")


def contained(event: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """What an event raises ends this connection, not the transport that reported it."""

    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            event(self, *args, **kwargs)
        except Exception as error:
            self.failed(event.__name__, error)

    guarded.__name__ = event.__name__
    return guarded


class Side:
    """One end of one connection (interfaces.ConnectionEvents), driven by its handshake machine."""

    name = "vpnrs/1"

    def __init__(self, connection: Connection, machine: ClientHandshake | ServerHandshake) -> None:
        self.connection = connection
        self.machine = machine
        self.loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[Finish] = self.loop.create_future()
        self.liveness: Liveness | None = None
        self.datagram_lane = DatagramLane(connection)
        self.stream_lane = StreamLane(connection)
        self.lane_name: str | None = None
        self._parser = CapsuleParser(CONTROL_LIMITS, CAPSULES_AT_ONCE)
        self._allowed_at = self.loop.time()
        self._lane_parser = CapsuleParser(LANE_LIMITS)
        self._gone = False
        self._timer: asyncio.TimerHandle | None = None

    # What a subclass does

    def act(self, action: Action) -> None:
        """Carry out what is not the same on both sides."""
        raise TypeError(f"{self.name} does not know {type(action).__name__}")

    def deliver(self, payloads: Sequence[bytes]) -> None:
        """Payloads of the lane, once the session is open."""
        raise TypeError(f"{self.name} has no link")

    def measured(self, rtt: Seconds) -> None:
        """A PING came back."""

    def failed(self, what: str, error: Exception) -> None:
        """Something of our own raised: end this connection. The log has the details, the peer does not."""
        log.error("%s: %s failed", self.name, what, exc_info=error)
        reason = f"{what}: {type(error).__name__}"
        try:
            self.step(Failed(reason))
        except Exception:
            log.exception("%s: the peer could not be told", self.name)
        if not self.finished.done() and self.machine.closed:
            self.finished.set_result(Finish(None, reason, CLOSE_CODES[Code.INTERNAL]))

    # interfaces.LinkControl

    @property
    def rtt(self) -> Seconds | None:
        return None if self.liveness is None else self.liveness.rtt

    @property
    def rtt_variation(self) -> Seconds | None:
        return None if self.liveness is None else self.liveness.rtt_variation

    @property
    def heard(self) -> Seconds:
        """interfaces.Probes."""
        return 0.0 if self.liveness is None else self.liveness.heard

    def probe(self) -> None:
        """interfaces.Probes."""
        if self.liveness is not None and not self.machine.closed:
            self.liveness.hurry(self.loop.time())
            self._tick()

    def message(self, codec: str, body: bytes) -> None:
        """Raises ValueError for a message over the limit of a control capsule."""
        encode_message(Ext(codec=codec, body=body))
        self.step(Tell(codec, body))
        self._check_unsent()

    # The machine

    def step(self, given: object) -> None:
        """One input and all that follows from it."""
        self.carry_out(self.machine.step(given, self.loop.time()))

    def carry_out(self, actions: Sequence[Action]) -> None:
        sent = b"".join(encode_message(action.message) for action in actions if isinstance(action, Send))
        if sent and not self._gone:
            self._write(sent)
        for action in actions:
            if isinstance(action, Send):
                continue
            if isinstance(action, Finish):
                if not self.finished.done():
                    self.finished.set_result(action)
            elif isinstance(action, PongSeen):
                self._pong(action.id)
            else:
                self.act(action)
        self._set_timer()

    def _pong(self, id: int) -> None:
        rtt = None if self.liveness is None else self.liveness.pong(id, self.loop.time())
        if rtt is not None:
            self.measured(rtt)

    def _write(self, data: bytes) -> None:
        """A connection that takes nothing any more is about to say that it has ended; what follows from an input must
        still be done."""
        try:
            self.connection.streams.write(CONTROL_STREAM, data)
        except PeerError as error:
            log.debug("%s: could not write to %s: %s", self.name, self.connection.path.remote, error)
        except Exception as error:
            log.error("%s: could not write to %s", self.name, self.connection.path.remote, exc_info=error)

    def opened(self, lane: str) -> None:
        """From now on payloads pass and both sides show signs of life."""
        self.lane_name = lane
        self.liveness = Liveness(self.loop.time())

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.machine.closed:
            return
        due = self.machine.deadline if self.liveness is None else self.liveness.next_deadline()
        if due is not None:
            self._timer = self.loop.call_at(due, self._tick)

    @contained
    def _tick(self) -> None:
        now = self.loop.time()
        if self.liveness is None:
            self.carry_out(self.machine.tick(now))
            return
        for due in self.liveness.tick(now):
            if isinstance(due, Ping):
                self.carry_out([Send(due)])
            else:
                self.step(due)
        self._set_timer()

    # interfaces.ConnectionEvents

    @contained
    def stream_data(self, stream: int, data: bytes, end: bool) -> None:
        if self.machine.closed:
            return
        if self.liveness is not None:
            self.liveness.heard = self.loop.time()
        if stream == CONTROL_STREAM:
            self._control_data(data, end)
        elif stream == LANE_STREAM and self.lane_name == StreamLane.NAME:
            self._lane_data(data, end)
        else:
            self.step(Violation(f"data on stream {stream}, which nothing uses"))

    @contained
    def stream_reset(self, stream: int, code: int) -> None:
        self.step(Violation(f"stream {stream} was reset"))

    @contained
    def datagrams(self, batch: Sequence[bytes]) -> None:
        """Those that overtake WELCOME, or come on a stream-lane session, are nobody's, but for probes of the path."""
        if self.liveness is None or self.machine.closed:
            return
        self.liveness.heard = self.loop.time()
        if self.lane_name == DatagramLane.NAME:
            self.deliver(batch)
            return
        probes = [payload for payload in batch if payload.startswith(_PROBE_HEAD)]
        if probes:
            self.deliver(probes)

    def writable(self) -> None: ...

    def path_changed(self, path: PathFacts) -> None: ...

    @contained
    def closed(self, code: int, reason: str) -> None:
        self._gone = True
        self.stream_lane.use(None)
        self.step(Lost(code, reason))

    def _control_data(self, data: bytes, end: bool) -> None:
        self._allow(len(data))
        try:
            for kind, value in self._parser.feed(data):
                self.step(self.machine.read(kind, value))
                if self.machine.closed:
                    return
        except PeerError as error:
            self.step(Violation(str(error)))
        if end:
            self.step(Violation("the control stream ended without CLOSE"))
        else:
            self._check_unsent()

    def _check_unsent(self) -> None:
        """What a peer asks for by datagrams, as answers to probes, counts like the rest."""
        if self.connection.streams.unsent(CONTROL_STREAM) > MAX_CONTROL_UNSENT and not self.machine.closed:
            self.step(Violation("answers are not read"))

    def _allow(self, size: int) -> None:
        """What a peer may make us read: the rest of the process is everybody's."""
        now = self.loop.time()
        earned = self._parser.allowance + (now - self._allowed_at) * CAPSULES_PER_SECOND
        self._parser.allowance = min(CAPSULES_AT_ONCE, earned) - size / 1024
        self._allowed_at = now
        if self._parser.allowance < 0:
            self.step(Violation("more on the control stream than anybody needs"))

    def _lane_data(self, data: bytes, end: bool) -> None:
        if not self.stream_lane.ready:
            self.stream_lane.use(LANE_STREAM)
            self.writable()
        payloads: list[bytes] = []
        try:
            payloads.extend(value for _, value in self._lane_parser.feed(data))
        except PeerError as error:
            self.step(Violation(str(error)))
        if payloads:
            self.deliver(payloads)
        if end:
            self.step(Violation("the lane's stream ended"))

    # The end

    async def leave(self, finish: Finish) -> None:
        """Let what was sent leave, then close. Nothing is waited for on a connection that is gone or dead."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            if finish.close_code != CLOSE_DEAD:
                await self._flush()
        finally:
            if not self._gone:
                self.connection.close(finish.close_code, finish.parting())

    async def _flush(self) -> None:
        deadline = self.loop.time() + FLUSH_DEADLINE
        while not self._gone and self.connection.streams.unsent(CONTROL_STREAM):
            if self.loop.time() >= deadline:
                return
            await asyncio.sleep(FLUSH_POLL)
