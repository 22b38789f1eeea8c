"""What a plugin is given by the core, one object for the life of the instance."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from vpnrs_core.events import Event
from vpnrs_core.interfaces.common import Address, Seconds
from vpnrs_core.interfaces.session import Session
from vpnrs_core.interfaces.stage import Seen
from vpnrs_core.interfaces.store import Store


class Counter(Protocol):
    def add(self, n: int = 1, *labels: str) -> None: ...


class Gauge(Protocol):
    def set(self, value: float, *labels: str) -> None: ...


class Histogram(Protocol):
    def observe(self, value: float) -> None: ...


@dataclass(frozen=True)
class Sample:
    """One value of one metric at this moment. `unit` is a base unit (bytes, seconds) or empty, and then the name ends
    in it. A histogram's `value` is the sum of all that was observed; `buckets` are upper bounds, the last one infinite,
    each with how many values were not above it."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "info"]
    unit: str
    help: str
    labels: Mapping[str, str]
    value: float
    buckets: Sequence[tuple[float, int]] = ()


class Context(Protocol):
    """To be used from the loop's thread only; `from_thread` crosses. Nothing here blocks."""

    @property
    def role(self) -> Literal["server", "client"]: ...
    @property
    def instance(self) -> str: ...
    @property
    def log(self) -> logging.Logger: ...
    @property
    def store(self) -> Store:
        """The configured store, in this plugin's own namespace. It is chosen when all plugins have loaded: before,
        each of its calls raises StoreUnavailable."""

    def now(self) -> Seconds:
        """Monotonic seconds."""

    def wall(self) -> Seconds:
        """POSIX time in seconds, for what outlives a reboot (expiry of credentials)."""

    def random(self, n: int) -> bytes:
        """`n` bytes fit for keys."""

    def sessions(self) -> Sequence[Session]:
        """All of the instance, parked ones too; a client has one at most."""

    def route(self, address: Address) -> Session | None:
        """The session that packets to this address go to; at a client its one session, whatever the address."""

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        """Declare a counter `vpnrs_<plugin>_<name>`: in the plugin's constructor or a hook. ValueError afterwards, and
        for a bad or repeated name."""

    def gauge(self, name: str, help: str, labels: Sequence[str] = (), unit: str = "") -> Gauge:
        """As `counter`, for a value that goes up and down. With a `unit` (bytes, seconds) the name ends in it."""

    def histogram(self, name: str, help: str, bounds: Sequence[float], unit: str = "seconds") -> Histogram:
        """As `counter`, for a distribution; `bounds` are the buckets' upper bounds, ascending."""

    def samples(self) -> Iterable[Sample]:
        """Every metric of the instance at this moment, the core's and all plugins'."""

    def emit(self, event: Event) -> None:
        """Tell the log and all subscribers. Its time is set if it is 0."""

    def subscribe(self, *types: type[Event], size: int = 256) -> AsyncIterator[Event]:
        """Events of these types (all, if none is given) from now on. What did not fit yields Missed(count)."""

    async def control(self, name: str, request: Mapping[str, Any], *, by: str, write: bool = False) -> Any:
        """Ask a control request by its complete name, as the local sockets would → the answer as JSON-ready data. `by`
        names who asks. Raises ConfigError for an unknown name, and for one that changes something without `write`."""

    def tap(self, session: str, seen: Seen) -> Callable[[], None]:
        """Show every packet of this session, by id, at each point of the pipeline: `link`, `tun`, `queue`,
        `before:<plugin>` and `after:<plugin>` of each stage, and where one is dropped → what ends it. It ends with the
        session at the latest. ConfigError: no such session, or a tap is in already. `seen` runs in the packet's turn;
        the tap of one that raises ends, and the packet goes on."""

    def path(self, relative: str) -> str:
        """A path of the configuration, relative to its file's folder, made absolute."""

    def from_thread(self, function: Callable[[], None]) -> None:
        """The one call that may come from another thread: runs `function` in the loop's."""

    async def add_link(self, transport: str, where: str, *, via: str | None = None) -> None:
        """Client: one more link for the session. This release carries one link a session, so it raises HostError."""
