"""The requests that every instance answers itself, `core.status` and the like, and asking any from inside."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Protocol

from vpnrs_core.engine.logs import LOGGER, change_logging
from vpnrs_core.engine.reload import Reloaded, ReloadRequest
from vpnrs_core.engine.status import (
    InstanceStatus,
    LogRequest,
    LogState,
    NothingRequest,
    StatusRequest,
    Stopping,
    StopRequest,
    SummaryStatus,
)
from vpnrs_core.engine.walk import Walk
from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces import ControlRequest


class Controlled(Protocol):
    """What the core's own requests act on."""

    async def status(self, *, brief: bool = False) -> InstanceStatus: ...
    def summary(self) -> SummaryStatus: ...
    def stop(self, reason: str) -> None: ...
    async def reload(self) -> Reloaded: ...
    async def walk(self) -> Walk: ...


def core_requests(instance: Controlled) -> dict[str, ControlRequest]:
    """By complete name, as the local sockets take them."""

    async def status(request: StatusRequest) -> InstanceStatus:
        return await instance.status(brief=request.brief)

    async def summary(_: NothingRequest) -> SummaryStatus:
        return instance.summary()

    async def log(request: LogRequest) -> LogState:
        level, style = change_logging(request.level, request.format)
        if request.level or request.format:
            logging.getLogger(LOGGER).info("logging: level %s, format %s", level, style)
        return LogState(level=level, format=style)

    async def walk(_: NothingRequest) -> Walk:
        return await instance.walk()

    async def stop(_: StopRequest) -> Stopping:
        instance.stop("vpnrs stop")
        return Stopping(pid=os.getpid())

    async def reload(_: ReloadRequest) -> Reloaded:
        return await instance.reload()

    return {
        "core.status": ControlRequest("status", StatusRequest, status, True),
        "core.summary": ControlRequest("summary", NothingRequest, summary, True),
        "core.walk": ControlRequest("walk", NothingRequest, walk, True),
        "core.log": ControlRequest("log", LogRequest, log, False),
        "core.reload": ControlRequest("reload", ReloadRequest, reload, False),
        "core.stop": ControlRequest("stop", StopRequest, stop, False),
    }


async def answer(handlers: Mapping[str, ControlRequest], name: str, request: Mapping[str, Any], *, write: bool) -> Any:
    """Ask as the local sockets would → the answer as JSON-ready data. Raises ConfigError for what is not there, or
    changes something without `write`."""
    handler = handlers.get(name)
    if handler is None:
        raise ConfigError(f"there is no request {name!r}; there are {', '.join(sorted(handlers))}")
    if not (handler.reads_only or write):
        raise ConfigError(f"request {name!r} changes something: ask with write=True")
    result = await handler.handler(handler.model.model_validate(dict(request)))
    return result.model_dump(mode="json")
