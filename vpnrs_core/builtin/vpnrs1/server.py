"""The server's side of one `vpnrs/1` connection: asks the gate, tells the peer, feeds the link."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vpnrs_core.builtin.lanes import StreamLane
from vpnrs_core.builtin.vpnrs1.side import Side, contained, log
from vpnrs_core.errors import PeerError
from vpnrs_core.interfaces.authenticator import Bearer, Body, Credential, PeerKey
from vpnrs_core.interfaces.common import Code, Refuse, Seconds
from vpnrs_core.interfaces.protocol import Gate, Granted, Offer, OpenedLink, ResumeClaim
from vpnrs_core.interfaces.transport import Connection, PathFacts
from vpnrs_core.session.handshake import Action, Answer, Configure, Deliver, Finish, Judge
from vpnrs_core.session.server_handshake import Ask, Changed, End, Opened, Refused, ServerHandshake
from vpnrs_core.wire.codepoints import ALPN, CLOSE_NORMAL
from vpnrs_core.wire.messages import NONCE_LENGTH, Hello


def credential_of(hello: Hello, connection: Connection) -> Credential:
    """{"bearer": token} is a token, {} the key that the transport has verified, all else the method's own."""
    body = hello.credential
    if not body:
        return PeerKey(connection.peer)
    token = body.get("bearer")
    if len(body) == 1 and isinstance(token, str):
        return Bearer(token)
    return Body(body)


class ServerSide(Side):
    """Also what the gate talks to while the session lives (interfaces.GrantListener)."""

    machine: ServerHandshake

    def __init__(self, connection: Connection, gate: Gate, random: Callable[[int], bytes]) -> None:
        now = asyncio.get_running_loop().time()
        super().__init__(
            connection, ServerHandshake(random(NONCE_LENGTH), connection.alpn, connection.server_spki, now)
        )
        self._gate = gate
        self._link: OpenedLink | None = None
        self._judging: asyncio.Task[None] | None = None
        self._answer: asyncio.Future[Mapping[str, Any]] | None = None

    async def run(self) -> None:
        self._set_timer()
        try:
            await asyncio.wait([self.finished])
        except asyncio.CancelledError:
            self.step(End(Refuse(Code.SHUTTING_DOWN, detail="the server stops")))
            raise
        finally:
            await self._end()

    async def _end(self) -> None:
        finish = self.finished.result() if self.finished.done() else Finish(None, "stopped", CLOSE_NORMAL)
        if self._judging is not None:
            self._judging.cancel()
        if self._link is not None:
            self._close(self._link, finish.reason, graceful=finish.graceful)
        await self.leave(finish)
        if self._judging is not None:
            await asyncio.wait([self._judging])

    def _close(self, link: OpenedLink, reason: str, *, graceful: bool = False) -> None:
        try:
            link.closed(reason, graceful=graceful)
        except Exception:
            log.exception("%s: closing a link failed", self.name)

    def act(self, action: Action) -> None:
        if isinstance(action, Judge):
            self._judging = self.loop.create_task(self._judge(action.hello, action.claim))
        elif isinstance(action, Answer):
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(action.body)
        elif isinstance(action, Configure):
            self.opened(action.lane)
        elif isinstance(action, Deliver):
            if self._link is not None:
                self._link.ext(action.codec, action.body)
        else:
            super().act(action)

    async def _judge(self, hello: Hello, claim: ResumeClaim | None) -> None:
        """Ask the gate. A link that it opens is closed exactly once: by `_end`, or here if it comes too late."""
        as_stream = hello.lane == StreamLane.NAME or self.connection.max_datagram() == 0
        lane = self.stream_lane if as_stream else self.datagram_lane
        try:
            opened = await self._gate.open(
                self.connection,
                hello.method,
                credential_of(hello, self.connection),
                protocol=self.name,
                lane=lane,
                channel=self.machine.channel(),
                wanted=tuple(hello.wanted),
                offer=Offer(tuple(hello.codecs), frozenset(hello.offloads), hello.mtu),
                ask=self._ask,
                resume=claim,
                resumable=True,
                notify=self,
            )
        except Exception as error:
            log.error("%s: the gate failed", self.name, exc_info=error)
            opened = Refuse(Code.INTERNAL, detail=f"the gate failed: {type(error).__name__}")
        if isinstance(opened, Refuse):
            self.step(Refused(opened))
        elif self.finished.done():
            self._close(opened, "the connection ended while the session was being opened")
        else:
            self._link = opened
            self._admit(opened.granted, lane.NAME)

    @contained
    def _admit(self, granted: Granted, lane: str) -> None:
        self.connection.authenticated()
        self.step(Opened(granted, lane))

    async def _ask(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.machine.more_rounds():
            raise PeerError(f"{ALPN} carries no more challenges on this connection")
        self._answer = self.loop.create_future()
        self.step(Ask(body))
        return await self._answer

    # interfaces.GrantListener

    @contained
    def grant_changed(self, granted: Granted) -> None:
        self.step(Changed(granted))

    @contained
    def ended(self, refuse: Refuse) -> None:
        self.step(End(refuse))

    # To the link

    def measured(self, rtt: Seconds) -> None:
        if self._link is not None:
            self._link.measured(rtt)

    def deliver(self, payloads: Sequence[bytes]) -> None:
        if self._link is not None:
            self._link.received(payloads)

    @contained
    def writable(self) -> None:
        if self._link is not None and not self.machine.closed:
            self._link.writable()

    @contained
    def path_changed(self, path: PathFacts) -> None:
        if self._link is not None and not self.machine.closed:
            self._link.path_changed(path)
