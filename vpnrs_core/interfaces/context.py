"""What a plugin is given by the core, one object for the life of the instance."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from vpnrs_core.events import Event
from vpnrs_core.interfaces.common import Address, Seconds
from vpnrs_core.interfaces.session import Session
from vpnrs_core.interfaces.store import Store


class Counter(Protocol):
    def add(self, n: int = 1, *labels: str) -> None: ...


@dataclass(frozen=True)
class Sample:
    """One value of one counter or gauge at this moment. `unit` is a base unit (bytes, seconds) or empty."""

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    help: str
    labels: Mapping[str, str]
    value: float


class Context(Protocol):
    """To be used from the loop's thread only; `from_thread` crosses."""

    @property
    def role(self) -> Literal["server", "client"]: ...
    @property
    def instance(self) -> str: ...
    @property
    def log(self) -> logging.Logger: ...
    @property
    def store(self) -> Store:
        """The configured store, in this plugin's own namespace."""

    def now(self) -> Seconds:
        """Monotonic seconds."""

    def wall(self) -> Seconds:
        """POSIX time in seconds, for what outlives a reboot (expiry of credentials)."""

    def random(self, n: int) -> bytes: ...
    def sessions(self) -> Sequence[Session]: ...
    def route(self, address: Address) -> Session | None:
        """The session that packets to this address go to."""

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        """Declare a counter `vpnrs_<plugin>_<name>`. While loading only."""

    def samples(self) -> Iterable[Sample]: ...
    def emit(self, event: Event) -> None: ...
    def subscribe(self, *types: type[Event], size: int = 256) -> AsyncIterator[Event]:
        """Events of these types (all, if none is given) from now on. What did not fit yields Missed(count)."""

    async def control(self, name: str, request: Mapping[str, Any], *, by: str, write: bool = False) -> Any:
        """Ask a control request as the local sockets would. `by` names who asks, for the log."""

    def path(self, relative: str) -> str:
        """A path of the configuration, relative to its file's folder, made absolute."""

    def from_thread(self, function: Callable[[], None]) -> None:
        """The one call that may come from another thread: runs `function` in the loop's."""

    async def add_link(self, transport: str, where: str, *, via: str | None = None) -> None:
        """Client: one more link for the session."""
