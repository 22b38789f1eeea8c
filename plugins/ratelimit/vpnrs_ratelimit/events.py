"""Events of this plugin. Credentials are named by their keyed fingerprint, in hexadecimal."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from vpnrs_core.events import Event


@dataclass(frozen=True, kw_only=True)
class AuthFailedInvalidToken(Event):
    """An attempt failed to authenticate. `fingerprint` is empty where the method identifies nothing."""

    LEVEL: ClassVar[int] = logging.WARNING
    LIMITED: ClassVar[bool] = True

    fingerprint: str
    source: str
    method: str


@dataclass(frozen=True, kw_only=True)
class AuthBlocked(Event):
    """A block began (`began`), or refused attempts: so many since the last such event, the newest from `source`.
    `would_only`: it refuses nobody, because `observe_only` is set. `retry_after` is seconds."""

    LEVEL: ClassVar[int] = logging.WARNING
    # Strangers cause it, and with enough credentials or sources as often as they like.
    LIMITED: ClassVar[bool] = True

    who: str
    source: str
    retry_after: float
    began: bool
    attempts: int = 0
    would_only: bool = False


@dataclass(frozen=True, kw_only=True)
class AuthBlockedPerToken(AuthBlocked):
    """`who` is the credential's fingerprint."""


@dataclass(frozen=True, kw_only=True)
class AuthBlockedGlobal(AuthBlocked):
    """All that present a credential; `who` is "global"."""


@dataclass(frozen=True, kw_only=True)
class AuthBlockedPerSource(AuthBlocked):
    """`who` is the source's prefix."""


@dataclass(frozen=True, kw_only=True)
class AuthBlockedPerPrincipal(AuthBlocked):
    """`who` is the principal's name."""


@dataclass(frozen=True, kw_only=True)
class AuthRateLimitStateEviction(Event):
    """A tier was full: `expired` entries were forgotten, and, when there was none, the least recently updated one,
    `who`."""

    LEVEL: ClassVar[int] = logging.WARNING
    LIMITED: ClassVar[bool] = True

    tier: str
    expired: int = 0
    who: str = ""


@dataclass(frozen=True, kw_only=True)
class AuthRateLimitStore(Event):
    """The store stopped answering (`working` false), or answers again. `attempts`: what happens meanwhile."""

    LEVEL: ClassVar[int] = logging.ERROR

    working: bool
    error: str = ""
    attempts: str = ""
