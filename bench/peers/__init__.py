"""The tunnels that are compared, each behind the same small interface."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.topology import Ends

CACHE = Path(__file__).parents[2] / ".cache" / "bench"


@dataclass(frozen=True)
class Tunnel:
    """`target`: the server's address inside the tunnel. `pids`: the processes that carry it, the client's first.
    `dropped`: packets that its own queues have dropped so far, None where it does not tell."""

    target: str
    pids: tuple[int, ...]
    dropped: Callable[[], int | None] = lambda: None


@dataclass(frozen=True)
class Sessions:
    """`per_second`: handshakes one after the other, both ends on this machine. `bytes_each`: what the server's
    resident memory grew by for an idle session. `missed`: sessions that were gone after the wait, None: not known.
    `cpu_percent`: of one core, what the server used while all were idle."""

    per_second: float
    bytes_each: float
    missed: int | None = None
    cpu_percent: float | None = None


class Peer(Protocol):
    """`unavailable` says why it cannot be measured here, None: it can. `sessions` opens `count`, keeps them for
    `hold` seconds, and is None where a peer has none. `port` is the UDP port of its server."""

    name: str
    port: int

    def unavailable(self) -> str | None: ...
    def version(self) -> str: ...
    def tunnel(self, ends: Ends) -> AbstractContextManager[Tunnel]: ...
    def sessions(self, ends: Ends, count: int, hold: float) -> Sessions | None: ...
