"""Principals, and what plugins add to the grant of an attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from vpnrs_core.interfaces.common import Address, Network, Refuse, Seconds

if TYPE_CHECKING:
    from vpnrs_core.interfaces.authenticator import Attempt


@dataclass(frozen=True)
class Rate:
    """A token bucket: bits a second, and the bytes that may go at once."""

    bits_per_second: int
    burst_bytes: int


@dataclass(frozen=True)
class Principal:
    """Who was authenticated. `expires` is a POSIX time in seconds (credentials outlive reboots), None: never."""

    name: str
    expires: Seconds | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contribution:
    """Added to a grant. Merge: routes and facts by union, DNS in declared order, MTU, rates and expiry the smallest (of
    rates the smaller speed and the smaller burst). What contradicts itself, such as a burst below the MTU, refuses the
    attempt with `policy`. `mtu` is bytes; `down` is towards the client and paced, `up` from it and policed.

    `expires` is a POSIX time in seconds. `facts` stay under the contributing plugin's name (≤ 4 KiB as JSON); what
    stands under its key "public" reaches the same plugin at the client."""

    routes: Sequence[Network] = ()
    dns: Sequence[Address] = ()
    mtu: int | None = None
    down: Rate | None = None
    up: Rate | None = None
    expires: Seconds | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class GrantContributor(Protocol):
    NAME: ClassVar[str]

    async def contribute(self, attempt: Attempt, principal: Principal) -> Contribution | Refuse:
        """Once an attempt, after authentication or a proven resume, and before allocation. Raising, or taking longer
        than 5 s, refuses with `internal`."""
