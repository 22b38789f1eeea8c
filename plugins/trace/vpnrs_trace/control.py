"""The plugin's requests. All of them show or cost something, so only the control socket takes them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import pydantic
from pydantic import Field

from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces import Context, ControlRequest, Direction, Packet, Session
from vpnrs_trace.config import TraceConfig
from vpnrs_trace.recorder import Recorder

# Little: packets wait while it is made into JSON.
_ANSWER_BYTES = 1 << 20


class Start(pydantic.BaseModel):
    """`trace.start`."""

    model_config = pydantic.ConfigDict(extra="forbid")
    session: str = Field("", description="Id or principal; empty: the only session there is.")
    seconds: float = Field(30.0, gt=0, description="How long; the configuration has the last word.")
    snap: int = Field(65_535, ge=40, le=65_575, description="Bytes of each packet to keep.")
    points: tuple[str, ...] = Field((), description="Beginnings of the points' names; none: all.")


class Started(pydantic.BaseModel):
    """Whose packets are shown, for how long."""

    session: str
    principal: str
    seconds: float


class Nothing(pydantic.BaseModel):
    """A request without fields."""

    model_config = pydantic.ConfigDict(extra="forbid")


class Seen(pydantic.BaseModel):
    """One packet at one point; see recorder.Record. `data` is base64."""

    at: float
    point: str
    direction: str
    reason: str
    data: str
    length: int
    segments: int


class Fetched(pydantic.BaseModel):
    """`ended`: nothing will follow. `missed`: what did not fit, since the start."""

    packets: list[Seen]
    missed: int
    ended: bool


class Tracer:
    """One trace at a time, ended by its time, by `trace.stop`, or by nobody fetching."""

    def __init__(self, config: TraceConfig, ctx: Context) -> None:
        self._config = config
        self._ctx = ctx
        self._recorder: Recorder | None = None
        self._untap: Callable[[], None] | None = None

    def requests(self) -> Sequence[ControlRequest]:
        """For the hook."""
        return [
            ControlRequest("start", Start, self.start, False),
            ControlRequest("fetch", Nothing, self.fetch, False),
            ControlRequest("stop", Nothing, self.stop, False),
        ]

    async def start(self, request: Start) -> Started:
        now = self._ctx.now()
        if self._recorder is not None and not self._recorder.ended(now):
            raise ConfigError(f"a trace of session {self._recorder.session} runs already; end it first")
        self.end()
        session = self._find(request.session)
        seconds = min(request.seconds, self._config.max_seconds)
        recorder = Recorder(session.id, now, seconds, self._config.max_bytes, request.snap, request.points)

        def seen(point: str, direction: Direction, packet: Packet | None, reason: str) -> None:
            if recorder.ended(self._ctx.now()):
                self.end()
            else:
                recorder.saw(self._ctx.wall(), point, direction, packet, reason)

        self._untap = self._ctx.tap(session.id, seen)
        self._recorder = recorder
        return Started(session=session.id, principal=session.principal.name, seconds=seconds)

    async def fetch(self, _: Nothing) -> Fetched:
        recorder = self._recorder
        if recorder is None:
            raise ConfigError("no trace runs; start one first")
        now = self._ctx.now()
        over = recorder.ended(now) or all(session.id != recorder.session for session in self._ctx.sessions())
        if over:
            self.end()
        records = recorder.fetch(now, _ANSWER_BYTES)
        packets = [
            Seen(
                at=record.at,
                point=record.point,
                direction=record.direction,
                reason=record.reason,
                data=base64.b64encode(record.data).decode(),
                length=record.length,
                segments=record.segments,
            )
            for record in records
        ]
        ended = over and not records
        if ended:
            self._recorder = None
        return Fetched(packets=packets, missed=recorder.missed, ended=ended)

    async def stop(self, _: Nothing) -> Nothing:
        self.end()
        self._recorder = None
        return Nothing()

    def end(self) -> None:
        """The pipeline is as it was before."""
        if self._untap is not None:
            self._untap()
            self._untap = None

    def _find(self, wanted: str) -> Session:
        sessions = self._ctx.sessions()
        found = [each for each in sessions if not wanted or wanted in (each.id, each.principal.name)]
        if len(found) == 1:
            return found[0]
        there = ", ".join(f"{each.id} ({each.principal.name})" for each in sessions) or "none"
        what = f"{wanted!r} means {len(found)} sessions" if wanted else f"there are {len(found)} sessions"
        raise ConfigError(f"{what}: name one by its id; there are: {there}")
