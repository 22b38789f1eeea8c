"""The client's side of one `vpnrs/1` connection: asks for a session, feeds the engine, says goodbye."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vpnrs_core.builtin.lanes import DatagramLane, StreamLane
from vpnrs_core.builtin.vpnrs1.side import Side, contained
from vpnrs_core.errors import PeerError, PluginError, VpnrsError
from vpnrs_core.interfaces.common import Refuse, Seconds
from vpnrs_core.interfaces.protocol import ClientLink, ClientRequest
from vpnrs_core.interfaces.transport import Connection, PathFacts
from vpnrs_core.session.client_handshake import Answered, ClientHandshake, Start, Stop
from vpnrs_core.session.handshake import Action, Challenged, Configure, Deliver, Failed, Finish, Reconfigure
from vpnrs_core.wire.capsule import encode_capsule
from vpnrs_core.wire.codepoints import CLOSE_NORMAL, CONTROL_STREAM, LANE_STREAM, NOTHING
from vpnrs_core.wire.messages import NONCE_LENGTH


class ClientSide(Side):
    """Also the engine's handle on the control stream (interfaces.LinkControl)."""

    machine: ClientHandshake

    def __init__(
        self, connection: Connection, wish: ClientRequest, link: ClientLink, random: Callable[[int], bytes]
    ) -> None:
        lane = wish.lane if connection.max_datagram() else StreamLane.NAME
        machine = ClientHandshake(wish, random(NONCE_LENGTH), connection.alpn, connection.server_spki, lane=lane)
        super().__init__(connection, machine)
        self._wish = wish
        self._link = link
        self._configured = False
        self._error: VpnrsError | None = None

    async def run(self) -> Refuse | None:
        try:
            self._open_stream(CONTROL_STREAM)
            self.step(Start(self._of_method("start", self._wish.half.start)))
            await asyncio.wait([self.finished])
        except asyncio.CancelledError:
            self.step(Stop())
            raise
        finally:
            done = self.finished.done()
            await self.leave(self.finished.result() if done else Finish(None, "failed", CLOSE_NORMAL))
        finish = self.finished.result()
        if self._error is not None:
            raise self._error
        if finish.blame is not None:
            raise PeerError(f"server at {self.connection.path.remote}: {finish.blame}")
        return finish.refuse

    def failed(self, what: str, error: Exception) -> None:
        """What the engine raises for its user reaches the caller of `request`."""
        if isinstance(error, VpnrsError) and self._error is None:
            self._error = error
        super().failed(what, error)

    def act(self, action: Action) -> None:
        if isinstance(action, Challenged):
            self._answer(action)
        elif isinstance(action, Configure):
            self._configure(action)
        elif isinstance(action, Reconfigure):
            self._link.grant_changed(action.granted)
        elif isinstance(action, Deliver):
            self._link.ext(action.codec, action.body)
        else:
            super().act(action)

    def _answer(self, challenged: Challenged) -> None:
        half = self._wish.half
        try:
            body = self._of_method("answer", lambda: half.answer(challenged.body, challenged.channel))
        except VpnrsError as error:
            self._error = error
            self.step(Failed("the authentication method could not answer"))
        else:
            self.step(Answered(body))

    def _of_method(self, hook: str, call: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """A method's own errors are for the user; what else it raises is named by type and place, without its text,
        which may hold the credential."""
        try:
            return call()
        except VpnrsError:
            raise
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            raise PluginError(
                f"authentication method {self._wish.method!r}: {hook} raised {type(error).__name__} "
                f"({at.filename}:{at.lineno})"
            ) from error

    def _configure(self, configure: Configure) -> None:
        lane: DatagramLane | StreamLane = self.datagram_lane
        if configure.lane == StreamLane.NAME:
            self._open_stream(LANE_STREAM)
            self.connection.streams.write(LANE_STREAM, encode_capsule(NOTHING, b""))
            self.stream_lane.use(LANE_STREAM)
            lane = self.stream_lane
        self.opened(configure.lane)
        self._configured = True
        self._link.granted(configure.granted, lane, self)

    def _open_stream(self, expected: int) -> None:
        stream = self.connection.streams.open()
        if stream != expected:
            raise PluginError(f"the transport opened stream {stream} where {expected} is due")

    def measured(self, rtt: Seconds) -> None:
        self._link.measured(rtt)

    def deliver(self, payloads: Sequence[bytes]) -> None:
        self._link.received(payloads)

    @contained
    def writable(self) -> None:
        if self._configured and not self.machine.closed:
            self._link.writable()

    @contained
    def path_changed(self, path: PathFacts) -> None:
        if self._configured and not self.machine.closed:
            self._link.path_changed(path)
