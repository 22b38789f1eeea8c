"""The plugin `ratelimit`: its hooks. What they return is made in the other files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import (
    AdmissionCheck,
    Attempt,
    Context,
    Contribution,
    ControlRequest,
    GrantContributor,
    Principal,
    Refuse,
    Service,
)
from vpnrs_ratelimit import events
from vpnrs_ratelimit.config import RateLimitConfig
from vpnrs_ratelimit.control import Control
from vpnrs_ratelimit.counting import BlockCount
from vpnrs_ratelimit.limit import PRINCIPAL, Limit


class PrincipalLimit:
    """interfaces.GrantContributor: only here is it known who has authenticated. It adds nothing to a grant."""

    NAME: ClassVar[str] = "ratelimit"

    def __init__(self, limit: Limit) -> None:
        self._limit = limit

    async def contribute(self, attempt: Attempt, principal: Principal) -> Contribution | Refuse:
        return await self._limit.principal(attempt, principal)


class Plugin:
    """At a server it judges attempts; at a client there is nothing to do."""

    Config = RateLimitConfig
    EVENTS = (
        events.AuthFailedInvalidToken,
        events.AuthBlockedPerToken,
        events.AuthBlockedGlobal,
        events.AuthBlockedPerSource,
        events.AuthBlockedPerPrincipal,
        events.AuthRateLimitStateEviction,
        events.AuthRateLimitStore,
    )

    def __init__(self, config: RateLimitConfig, ctx: Context) -> None:
        self._limit = Limit(config, ctx) if ctx.role == "server" else None
        self._ctx = ctx

    @impl
    def vpnrs_register_admission_checks(self) -> Sequence[AdmissionCheck]:
        return [] if self._limit is None else [self._limit]

    @impl
    def vpnrs_register_grant_contributors(self) -> Sequence[GrantContributor]:
        if self._limit is None or PRINCIPAL not in self._limit.tiers:
            return []
        return [PrincipalLimit(self._limit)]

    @impl
    def vpnrs_register_services(self) -> Sequence[Service]:
        return [] if self._limit is None else [BlockCount(self._limit)]

    @impl
    def vpnrs_register_control(self) -> Sequence[ControlRequest]:
        return [] if self._limit is None else Control(self._limit, self._ctx).requests()
