"""What one scrape answers: the instance's samples, its sessions if they are wanted, and the process, as text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from vpnrs_core.interfaces import Context, Sample
from vpnrs_metrics.families import distinct, families, session_families

SCRAPE_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


# With so many sessions the text is made beside the loop.
_MANY = 20

Encode = Callable[[CollectorRegistry], bytes]


class _Read:
    """What was read in the loop, for a registry to collect."""

    def __init__(self, samples: Sequence[Sample], sessions: Sequence[Mapping[str, Any]] | None, most: int) -> None:
        self._samples, self._sessions, self._most = samples, sessions, most

    def collect(self) -> Iterator[Metric]:
        sessions = () if self._sessions is None else session_families(self._sessions, self._most)
        # A plugin may be called `session`.
        yield from distinct(chain(families(self._samples), sessions))


def _written(encode: Encode, read: _Read) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(read)
    ProcessCollector(registry=registry)
    return encode(registry)


class Exposition:
    """Reads the instance when asked. It keeps nothing between two scrapes, so nothing outlives what it describes."""

    def __init__(self, ctx: Context, sessions: bool, max_sessions: int) -> None:
        self._ctx = ctx
        self._sessions = sessions
        self._most = max_sessions
        self._seconds = ctx.histogram("scrape_seconds", "time that a scrape takes", SCRAPE_BOUNDS)

    async def text(self, accept: str = "") -> tuple[bytes, str]:
        """→ the body and its content type: OpenMetrics where the header `Accept` asks for it, else the older text."""
        began = self._ctx.now()
        found = await self._read_sessions() if self._sessions else None
        encode, content_type = choose_encoder(accept)
        read = _Read(list(self._ctx.samples()), found, self._most)
        if found is None or len(found) < _MANY:
            body = _written(encode, read)
        else:
            # Text of thousands of series takes tenths of a second, in which packets would wait.
            body = await asyncio.to_thread(_written, encode, read)
        self._seconds.observe(self._ctx.now() - began)
        return body, content_type

    async def _read_sessions(self) -> Sequence[Mapping[str, Any]]:
        status = await self._ctx.control("core.status", {"brief": True}, by="scrape")
        if status["server"] is not None:
            sessions: Sequence[Mapping[str, Any]] = status["server"]["sessions"]
            return sessions
        one = status["client"]["session"] if status["client"] is not None else None
        return [] if one is None else [one]
