"""No tunnel: what the path itself carries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers import Sessions, Tunnel
from bench.topology import Ends


class NoTunnel:
    name = "no tunnel"
    port = 0

    def unavailable(self) -> str | None:
        return None

    def version(self) -> str:
        return "the bare path"

    @contextmanager
    def tunnel(self, ends: Ends) -> Iterator[Tunnel]:
        yield Tunnel(ends.address, ())

    def sessions(self, ends: Ends, count: int, hold: float) -> Sessions | None:
        return None
