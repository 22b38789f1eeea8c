"""Control requests: queries and commands that a plugin adds to the local sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pydantic


@dataclass(frozen=True)
class ControlRequest:
    """Reached as `<plugin>.<name>`. `model` checks the request's fields, `handler` gets an object of it; what it raises
    of vpnrs_core.errors reaches whoever asked. `reads_only` requests are answered on the status socket too."""

    name: str
    model: type[pydantic.BaseModel]
    handler: Callable[[Any], Awaitable[pydantic.BaseModel]]
    reads_only: bool
