"""The `out` of a stage: it accounts for each packet exactly once, and takes a failed call's effects back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpnrs_core.counters import DropCounts
from vpnrs_core.interfaces.session import Session
from vpnrs_core.interfaces.stage import Direction
from vpnrs_core.packet.packet import Packet

if TYPE_CHECKING:
    from vpnrs_core.pipeline.stages import BoundStage

HOLD_LIMIT = 1 << 20  # bytes that one stage may hold


@dataclass(eq=False)
class Passage:
    """Packets that go on behind `stage` apart from its batch: injected, answered, or let go after being held.

    `hop` is 1 once a packet was injected. `home`: an egress passage that goes to its packets' own session, or to the
    stage's, instead of being routed."""

    stage: BoundStage
    direction: Direction
    packets: list[Packet]
    hop: int
    home: bool = False


@dataclass(eq=False, slots=True)
class Held:
    packet: Packet
    direction: Direction
    hop: int
    size: int


class Misuse(Exception):
    """A stage named a packet that it had not been given, or had named before, or forgot one."""


class StageOut:
    """Implements interfaces.Out for one stage. Nothing takes effect before the call has ended well."""

    def __init__(
        self,
        stage: BoundStage,
        drops: DropCounts,
        lost: Callable[[str, int], None],
        report: Callable[[str, BaseException], None],
        limit: int = HOLD_LIMIT,
    ) -> None:
        """`lost(plugin, packets)` counts what stage errors cost; `report(where, exception)` tells of misuse."""
        self.held: dict[int, Held] = {}
        self.held_bytes = 0
        self._stage = stage
        self._drops = drops
        self._lost = lost
        self._report = report
        self._limit = limit
        self._active = False
        self._direction = Direction.INGRESS
        self._hop = 0
        self._open: dict[int, Packet] = {}
        self._forwarded: list[Packet] = []
        self._passages: list[Passage] = []
        self._consumed: list[Held] = []
        self._passed: list[Packet] = []
        self._taken: list[int] = []
        self._hopped: dict[int, Packet] = {}
        self._too_far: list[Packet] = []
        self._causes: dict[int, Packet] = {}
        self._misuse: Misuse | None = None
        self._undeclared: set[str] = set()

    # What stages call

    def forward(self, of: Packet | Sequence[Packet], *packets: Packet) -> None:
        for packet in packets:
            packet.header  # noqa: B018 - a malformed packet raises here, in its maker's call
        if isinstance(of, Packet) and self._open.get(id(of)) is of:
            # One of the batch, as nearly always: what follows below, without its cases.
            del self._open[id(of)]
            self._passed.append(of)
            if self._hop:
                self._hopped[id(of)] = of
            session = of.session
            for packet in packets or (of,):
                self._forwarded.append(packet if packet.session is session else packet.with_session(session))
            return
        sources = (of,) if isinstance(of, Packet) else tuple(of)
        origin = self._claim(sources)
        if origin is None:
            return
        if origin.direction is self._direction and origin.hop == self._hop and self._open is not _WAKING:
            target = self._forwarded
        else:
            target = self._passage(origin.direction, origin.hop, home=self._stage.peer is not None).packets
        session = origin.packet.session
        for packet in packets or sources:
            target.append(packet if packet.session is session else packet.with_session(session))

    def drop(self, packet: Packet, reason: str) -> None:
        if self._claim((packet,)) is None:
            return
        self._consumed.pop()  # judged: a failure later in the call does not count it again
        if reason not in self._drops.packets:
            if reason not in self._undeclared and len(self._undeclared) < 100:
                self._undeclared.add(reason)
                self._report("drop", Misuse(f"drop reason {reason!r} was not declared: add it to DROP_REASONS"))
            reason = "bad_reason"
        self._drops.count(reason, packet.segments, packet.ip_bytes)

    def reply(self, of: Packet, packet: Packet) -> None:
        packet.header  # noqa: B018 - as in forward
        origin = self._claim((of,))
        if origin is None:
            return
        if origin.direction is Direction.INGRESS:
            self._enter(Direction.EGRESS, packet, origin.packet.session, origin.hop, home=True)
        else:
            self._enter(Direction.INGRESS, packet, self._session_of(origin.packet), origin.hop)

    def hold(self, packet: Packet) -> bool:
        self._check_active()
        key = id(packet)
        if key in self.held:
            return True
        if self._open.get(key) is not packet:
            self._mistake(packet)
            return False
        del self._open[key]
        size = packet.ip_bytes
        if self.held_bytes + size > self._limit:
            self._drops.count("hold_limit", packet.segments, size)
            return False
        self.held[key] = Held(packet, self._direction, self._hop, size)
        self.held_bytes += size
        self._taken.append(key)
        return True

    def inject(self, direction: Direction, packet: Packet, *, cause: Packet | Sequence[Packet] | None = None) -> None:
        self._check_active()
        packet.header  # noqa: B018 - as in forward
        hop = self._hop
        causes = () if cause is None else (cause,) if isinstance(cause, Packet) else tuple(cause)
        for each in causes:
            key = id(each)
            self._causes[key] = each
            held = self.held.get(key)
            hop = max(hop, held.hop if held else 0, 1 if key in self._hopped else 0)
        self._enter(direction, packet, self._session_of(causes[0] if causes else None), hop)

    # What the pipeline calls

    def begin(self, direction: Direction, batch: list[Packet], hop: int) -> list[Packet]:
        """A call of `process` begins → the batch to give it: an object that an earlier stage sent on several times
        is several packets here, or naming one would name them all."""
        self._reset()
        self._direction = direction
        self._hop = hop
        self._open = {id(packet): packet for packet in batch}
        if len(self._open) != len(batch):
            batch = [packet.with_session(packet.session) for packet in batch]
            self._open = {id(packet): packet for packet in batch}
        self._active = True
        return batch

    def begin_wake(self) -> None:
        """A call of `on_wake` begins: only held packets can be named."""
        self._reset()
        self._open = _WAKING
        self._hop = 0
        self._active = True

    def end(self) -> tuple[list[Packet], list[Passage]]:
        """The call returned → what goes on in the batch's place, and apart from it. What was forgotten is lost."""
        forgotten = [packet for key, packet in self._open.items() if self._causes.get(key) is not packet]
        if forgotten:
            for packet in forgotten:
                self._lose(packet)
            self._mistake(forgotten[0], f"{len(forgotten)} of its packets were not named: forward, drop, reply or hold")
        for key, packet in self._causes.items():
            # A held cause that this call did not name has become the injected packet, as one of the batch would.
            entry = self.held.get(key)
            if entry is not None and entry.packet is packet and key not in self._taken:
                del self.held[key]
                self.held_bytes -= entry.size
        for packet in self._too_far:
            self._drops.count("injection_hops", packet.segments, packet.ip_bytes)
        forwarded, passages, misuse = self._forwarded, self._passages, self._misuse
        self._reset()
        if misuse is not None:
            self._report("out", misuse)
        return forwarded, passages

    def abort(self) -> None:
        """The call raised: all that it was given and has not dropped is lost, and what it sent does not leave."""
        waking = self._open is _WAKING
        for packet in self._open.values():
            self._lose(packet)
        for held in self._consumed:
            self._lose(held.packet)
        for packet in self._passed:
            self._lose(packet)
        for key in list(self.held) if waking else self._taken:
            entry = self.held.pop(key, None)
            if entry is not None:
                self.held_bytes -= entry.size
                self._lose(entry.packet)
        self._reset()

    def discard(self, reason: str) -> None:
        """The stage ends: what it still holds is dropped under `reason`."""
        for entry in self.held.values():
            self._drops.count(reason, entry.packet.segments, entry.size)
        self.held.clear()
        self.held_bytes = 0

    # For a tap

    @property
    def direction(self) -> Direction:
        """Of the call that is going on."""
        return self._direction

    def at_stake(self) -> list[Packet]:
        """What `abort` would lose."""
        return [*self._open.values(), *self._passed, *(held.packet for held in self._consumed)]

    # Shared

    def _claim(self, packets: Sequence[Packet]) -> Held | None:
        """Take packets as named → the first's origin with the highest hop of all, None: a mistake, no effect."""
        self._check_active()
        held, open_ = self.held, self._open
        keys = [id(packet) for packet in packets]
        if len(set(keys)) != len(keys) or not keys:
            self._mistake(None, "a call named a packet twice, or none at all")
            return None
        found: list[Held] = []
        for key, packet in zip(keys, packets, strict=True):
            if open_.get(key) is packet:
                found.append(Held(packet, self._direction, self._hop, 0))
            elif key in held and held[key].packet is packet:
                found.append(held[key])
            else:
                self._mistake(packet)
                return None
        for key in keys:
            if open_.pop(key, None) is None:
                self.held_bytes -= held.pop(key).size
        self._consumed.extend(found)
        self._hopped.update((id(origin.packet), origin.packet) for origin in found if origin.hop)
        first = found[0]
        hop = max(origin.hop for origin in found)
        return first if hop == first.hop else Held(first.packet, first.direction, hop, first.size)

    def _enter(
        self, direction: Direction, packet: Packet, session: Session | None, hop: int, home: bool = False
    ) -> None:
        if hop:
            self._too_far.append(packet)
            return
        if packet.session is not session:
            packet = packet.with_session(session)
        self._passage(direction, 1, home).packets.append(packet)

    def _passage(self, direction: Direction, hop: int, home: bool) -> Passage:
        """The last passage if it is one of this kind, so that packets which go the same way stay a batch."""
        if self._passages:
            last = self._passages[-1]
            if last.direction is direction and last.hop == hop and last.home == home:
                return last
        passage = Passage(self._stage, direction, [], hop, home)
        self._passages.append(passage)
        return passage

    def _session_of(self, cause: Packet | None) -> Session | None:
        """Whose an injection is: its cause's, else that of the session for which the stage was made."""
        if cause is not None and cause.session is not None:
            return cause.session
        peer = self._stage.peer
        return None if peer is None else peer.session

    def _lose(self, packet: Packet) -> None:
        segments = packet.segments
        self._drops.count("stage_error", segments, packet.ip_bytes)
        self._lost(self._stage.plugin, segments)

    def _mistake(self, packet: Packet | None, text: str = "") -> None:
        if self._misuse is None:
            self._misuse = Misuse(text or f"{packet!r} is not the stage's to name: named before, or never given to it")

    def _check_active(self) -> None:
        if not self._active:
            raise RuntimeError("`out` is used outside of process and on_wake: keep packets with hold and use wake_at")

    def _reset(self) -> None:
        self._active = False
        self._open = {}
        self._forwarded = []
        self._passages = []
        self._consumed = []
        self._passed = []
        self._taken = []
        self._hopped = {}
        self._too_far = []
        self._causes = {}
        self._misuse = None


# The batch of a call that has none. Its identity tells `on_wake` from an empty `process`.
_WAKING: dict[int, Packet] = {}
