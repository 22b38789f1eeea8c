"""Control requests: queries and commands that a plugin adds to the local sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pydantic


@dataclass(frozen=True)
class ControlRequest:
    """Reached as `<plugin>.<name>`. `reads_only` requests are answered on the status socket too."""

    name: str
    model: type[pydantic.BaseModel]
    handler: Callable[[Any], Awaitable[pydantic.BaseModel]]
    reads_only: bool
