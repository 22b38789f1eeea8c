"""The prober of one link: session.pathmtu over a connection, a timer, and the link's control messages.

Probes are datagrams with a context id of their own; what of them arrived is said on the control stream. Each side
probes the direction that it sends in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from vpnrs_core.interfaces.transport import ProbedPath
from vpnrs_core.packet.packet import Packet
from vpnrs_core.session.pathmtu import Acked, Doubt, Input, Limit, PathMtu, Probe, Start
from vpnrs_core.wire.codepoints import PROBE_CONTEXT
from vpnrs_core.wire.varint import decode_varint, encode_varint

HEAD = encode_varint(PROBE_CONTEXT)
# Seconds between looks at a link: whether it carries anything, and then whether the largest packets still pass.
IDLE, BUSY = 3.0, 1.0
# Answers in one message; a peer that wants more probes answered at once is no prober.
_MOST_ANSWERS = 64


class Prober:
    """`sent()` counts the link's payloads, `tell(body)` reaches the peer's prober, `prefix` is the link's. Used from
    the loop's thread only."""

    def __init__(
        self,
        path: ProbedPath,
        prefix: bytes,
        sent: Callable[[], int],
        tell: Callable[[bytes], None],
        *,
        raise_every: float,
        fixed: bool = False,
    ) -> None:
        """`fixed`: nothing larger than what is in use is looked for."""
        sizes = path.payload_sizes()
        most = sizes.now if fixed else sizes.most
        self.machine = PathMtu(sizes.now, most, ip_overhead=sizes.ip_overhead, raise_every=raise_every)
        self._path, self._head, self._sent, self._tell = path, prefix + HEAD, sent, tell
        self._fixed = fixed
        self.known = False  # something has been found out
        self._seen = 0
        self._look_at = 0.0
        self._on_size: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def judged(self) -> bool:
        """No search is under way: what passes is known for now."""
        return self.machine.settled

    def start(self, on_size: Callable[[], None]) -> None:
        """The peer answers from now on. `on_size` is called whenever another size is in use, and when a search ends."""
        self._on_size = on_size
        self._look_at = self._loop.time() + IDLE
        self._step(Start())

    def close(self) -> None:
        self._on_size = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def payload(self) -> int:
        """Bytes of UDP payload in use."""
        return self.machine.size

    def path_changed(self) -> None:
        """It is another one, or the host has refused something."""
        if self._on_size is not None:
            self._check_limit()
            self._step(Doubt(self._path.path_hint()))

    # What the peer sent

    def sift(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Answer the probes among payloads → the others."""
        self.answer([payload[len(HEAD) :] for payload in payloads if payload.startswith(HEAD)])
        return [payload for payload in payloads if not payload.startswith(HEAD)]

    def decode(self, payloads: Sequence[bytes], drop: Callable[[str], None], skip: int = 0) -> list[Packet]:
        """interfaces.Codec's half, for probes that come among packets."""
        self.answer([payload[skip:] for payload in payloads[:_MOST_ANSWERS]])
        return []

    def encode(self, packet: Packet, max_payload: int, head: bytes = b"") -> list[bytes] | None:
        """Probes carry no packets."""
        return None

    def answer(self, probes: Sequence[bytes]) -> None:
        """Payloads of probes, context id removed: each begins with its two numbers, which are sent back."""
        found = []
        for probe in probes[:_MOST_ANSWERS]:
            try:
                _, middle = decode_varint(probe)
                _, end = decode_varint(probe, middle)
            except ValueError:
                continue
            found.append(probe[:end])
        if found:
            self._tell(b"".join(found))

    def heard(self, body: bytes) -> None:
        """The peer's answer: pairs of round and size."""
        at = 0
        while at < len(body) and self._on_size is not None:
            try:
                number, at = decode_varint(body, at)
                size, at = decode_varint(body, at)
            except ValueError:
                return
            self._step(Acked(number, size))

    # The machine

    def _step(self, given: Input) -> None:
        self._carry_out(lambda now: self.machine.step(given, now))

    def _carry_out(self, ask: Callable[[float], Sequence[object]]) -> None:
        self.machine.rtt = self._path.path_rtt()
        told = False
        for action in ask(self._loop.time()):
            if isinstance(action, Probe):
                for size in action.sizes:
                    self._path.probe(self._head + encode_varint(action.number) + encode_varint(size), size)
                continue
            self._path.use_payload(self.machine.size, settled=self.machine.settled)
            told = True
        if told and self._on_size is not None:
            self.known = True
            self._on_size()
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._on_size is not None:
            due = self.machine.deadline
            at = self._look_at if due is None else min(due, self._look_at)
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        if now >= self._look_at:
            self._look(now)
        self._carry_out(self.machine.tick)

    def _look(self, now: float) -> None:
        """Make sure of the size in use while the link is; one that rests costs a comparison."""
        sent = self._sent()
        busy = sent != self._seen
        self._seen = sent
        self._look_at = now + (BUSY if busy else IDLE)
        if busy:
            self._check_limit()
            self._step(Doubt(self._path.path_hint()))

    def _check_limit(self) -> None:
        most = self._path.payload_sizes().most
        if not self._fixed and most != self.machine.most:
            self._step(Limit(most))
