"""Everything that can be observed, as typed events. Logs are these, rendered; secrets never appear in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base. `at` is POSIX seconds, set by the core when it is 0."""

    at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Missed(Event):
    """A subscriber's queue overflowed: this many events were not delivered to it."""

    count: int


@dataclass(frozen=True, kw_only=True)
class InstanceStarted(Event):
    """The instance is ready: the server listens, or the client has begun to connect."""

    role: str
    instance: str
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class InstanceStopping(Event):
    """Somebody or something asked for the end; sessions are told next."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class ConnectionOpened(Event):
    """A transport handshake is complete; nobody has authenticated yet."""

    source: str
    transport: str
    alpn: str


@dataclass(frozen=True, kw_only=True)
class ConnectionClosed(Event):
    """`reason` is "ended", or the type of what the session protocol raised."""

    source: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AttemptRefused(Event):
    """An attempt was refused. `detail` is for the operator and never left the server."""

    # The log shows so many of it only: strangers cause it (engine.logs.Flood).
    LIMITED: ClassVar[bool] = True

    source: str
    method: str
    fingerprint: str
    code: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class SessionOpened(Event):
    """Server: a client was let in, and has its addresses."""

    session: str
    principal: str
    source: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SessionResumed(Event):
    """Server: a session came back on a new link, with its addresses."""

    session: str
    principal: str
    source: str


@dataclass(frozen=True, kw_only=True)
class SessionParked(Event):
    """The last link is gone; the leases are kept for `window` seconds."""

    session: str
    principal: str
    window: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class SessionChanged(Event):
    """The grant of a session is another one: `what` says which part."""

    session: str
    principal: str
    what: str


@dataclass(frozen=True, kw_only=True)
class SessionClosed(Event):
    """`counters` are the final ones."""

    session: str
    principal: str
    reason: str
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PathChanged(Event):
    """A link goes another way: addresses of both ends in the underlay, or what fits through."""

    session: str
    local: str
    remote: str


@dataclass(frozen=True, kw_only=True)
class MtuChanged(Event):
    """The inner MTU of a session, bytes, as this side has it: its path carries UDP payloads of `payload` bytes."""

    session: str
    mtu: int
    payload: int


@dataclass(frozen=True, kw_only=True)
class Connected(Event):
    """Client: the tunnel is up."""

    session: str
    server: str
    addresses: tuple[str, ...]
    handshake_seconds: float
    resumed: bool


@dataclass(frozen=True, kw_only=True)
class ConnectFailed(Event):
    """Client: an attempt failed. `next_try` is seconds from now, None: the client gives up."""

    server: str
    code: str
    error: str
    attempt: int
    next_try: float | None


@dataclass(frozen=True, kw_only=True)
class Disconnected(Event):
    """Client: a connection that had been up is gone."""

    server: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class PluginFailed(Event):
    """A plugin raised. `hook` names the hook or method, `error` the exception's type, text and line."""

    plugin: str
    hook: str
    error: str


@dataclass(frozen=True, kw_only=True)
class PluginSlow(Event):
    """A plugin's code kept everything else waiting: one call of `what` took `seconds`, and was last seen at `where`.
    At most one in ten seconds a plugin."""

    plugin: str
    what: str
    seconds: float
    where: str


@dataclass(frozen=True, kw_only=True)
class ServiceRestarted(Event):
    """A plugin's service ended; it begins anew after `again_in` seconds."""

    plugin: str
    service: str
    error: str
    again_in: float


@dataclass(frozen=True, kw_only=True)
class HostChanged(Event):
    """A change made to, or undone on, this host."""

    what: str
    undone: bool = False
