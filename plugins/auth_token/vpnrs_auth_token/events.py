"""Events of this plugin: what became of a changed tokens file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from vpnrs_core.events import Event


@dataclass(frozen=True, kw_only=True)
class TokensChanged(Event):
    """The tokens file was read again: `count` tokens are accepted now, `gone` (ids) no longer."""

    count: int
    gone: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TokensUnusable(Event):
    """The tokens file cannot be used. `accepted` is how many tokens of before go on being accepted."""

    LEVEL: ClassVar[int] = logging.ERROR

    error: str
    accepted: int
