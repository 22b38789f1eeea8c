"""Words that every interface uses: addresses, seconds, refusal codes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Seconds = float


class Code(Enum):
    """Why a session is refused or ended. The value is what the wire carries."""

    AUTH_FAILED = "auth_failed"
    AUTH_REQUIRED = "auth_required"
    VERSION = "version"
    POLICY = "policy"
    SUPERSEDED = "superseded"
    BLOCKED = "blocked"
    SERVER_FULL = "server_full"
    POOL_EXHAUSTED = "pool_exhausted"
    SHUTTING_DOWN = "shutting_down"
    PROTOCOL = "protocol"
    INTERNAL = "internal"


class RetryClass(Enum):
    """What the refused side does next."""

    FINAL = "final"
    RETRY = "retry"


_FINAL = frozenset({Code.AUTH_FAILED, Code.AUTH_REQUIRED, Code.VERSION, Code.POLICY, Code.SUPERSEDED})


def retry_class(code: Code) -> RetryClass:
    """FINAL for what a repeated attempt cannot change, RETRY for what time can."""
    return RetryClass.FINAL if code in _FINAL else RetryClass.RETRY


@dataclass(frozen=True)
class Refuse:
    """A refusal. `retry_after` (seconds) and `code` go to the peer; `detail` goes to the log only."""

    code: Code
    retry_after: Seconds | None = None
    detail: str = ""
