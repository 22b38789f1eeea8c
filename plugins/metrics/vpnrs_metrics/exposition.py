"""What one scrape answers: the instance's samples, its sessions if they are wanted, and the process, as text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from vpnrs_core.interfaces import Context
from vpnrs_metrics.families import families, session_families

SCRAPE_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)


# With so many sessions the text is made beside the loop.
_MANY = 20


class _Collected:
    """What was read in the loop, for a registry to write down."""

    def __init__(self, found: Sequence[Metric]) -> None:
        self._found = found

    def collect(self) -> Sequence[Metric]:
        return self._found


class Exposition:
    """Reads the instance when asked. It keeps nothing between two scrapes, so nothing outlives what it describes."""

    def __init__(self, ctx: Context, sessions: bool, max_sessions: int) -> None:
        self._ctx = ctx
        self._sessions = sessions
        self._most = max_sessions
        self._seconds = ctx.histogram("scrape_seconds", "time that a scrape takes", SCRAPE_BOUNDS)

    def _collect(self, sessions: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
        yield from families(self._ctx.samples())
        if self._sessions:
            yield from session_families(sessions, self._most)

    async def text(self, accept: str = "") -> tuple[bytes, str]:
        """→ the body and its content type: OpenMetrics where the header `Accept` asks for it, else the older text."""
        found = await self._read_sessions() if self._sessions else ()
        began = self._ctx.now()
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(list(self._collect(found))))
        ProcessCollector(registry=registry)
        if len(found) < _MANY:
            body: bytes = encode(registry)
        else:
            # Text of thousands of series takes tenths of a second, in which packets would wait.
            body = await asyncio.to_thread(encode, registry)
        self._seconds.observe(self._ctx.now() - began)
        return body, content_type

    async def _read_sessions(self) -> Sequence[Mapping[str, Any]]:
        status = await self._ctx.control("core.status", {}, by="scrape")
        if status["server"] is not None:
            sessions: Sequence[Mapping[str, Any]] = status["server"]["sessions"]
            return sessions
        one = status["client"]["session"] if status["client"] is not None else None
        return [] if one is None else [one]
