"""The tunnels that are compared, each behind the same small interface."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.topology import Ends

CACHE = Path(__file__).parents[2] / ".cache" / "bench"


@dataclass(frozen=True)
class Tunnel:
    """`target`: the server's address inside the tunnel. `pids`: the processes that carry it, both ends'."""

    target: str
    pids: tuple[int, ...]


@dataclass(frozen=True)
class Sessions:
    """`per_second`: handshakes one after the other, both ends on this machine. `bytes_each`: what the server's
    resident memory grew by for an idle session."""

    per_second: float
    bytes_each: float


class Peer(Protocol):
    """`unavailable` says why it cannot be measured here, None: it can. `sessions` is None where it has none."""

    name: str

    def unavailable(self) -> str | None: ...
    def version(self) -> str: ...
    def tunnel(self, ends: Ends) -> AbstractContextManager[Tunnel]: ...
    def sessions(self, ends: Ends, count: int) -> Sessions | None: ...
