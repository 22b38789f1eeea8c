"""The plugin `nat64`: its hooks. What they return is made in the other files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vpnrs_core.config.models import ServerConfig
from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Context, ControlRequest, Finding, GrantContributor, HostNeeds, StageFactory
from vpnrs_nat64.check import check, is_local
from vpnrs_nat64.config import Nat64Config
from vpnrs_nat64.events import Nat64Limit, Nat64PrivateAddress
from vpnrs_nat64.reasons import REASONS
from vpnrs_nat64.translator import PrefixGrant, Translator


class Plugin:
    """At a server it translates; at a client there is nothing to do."""

    Config = Nat64Config
    DROP_REASONS = REASONS
    EVENTS = (Nat64Limit, Nat64PrivateAddress)

    def __init__(self, config: Nat64Config, ctx: Context) -> None:
        self._config, self._ctx = config, ctx
        self._translator = Translator(config, ctx) if ctx.role == "server" else None

    @impl
    def vpnrs_check(self, configuration: Any) -> Sequence[Finding]:
        """Comes before the host's needs are asked and the stage is made: both depend on the pools."""
        if self._translator is None or not isinstance(configuration, ServerConfig):
            return []
        self._translator.configured(configuration)
        return check(self._config, configuration, is_local)

    @impl
    def vpnrs_declare_host_needs(self) -> HostNeeds | None:
        return None if self._translator is None else self._translator.needs()

    @impl
    def vpnrs_register_packet_stages(self) -> Sequence[StageFactory]:
        return [] if self._translator is None else [self._translator]

    @impl
    def vpnrs_register_grant_contributors(self) -> Sequence[GrantContributor]:
        return [] if self._translator is None else [PrefixGrant(self._config)]

    @impl
    def vpnrs_register_control(self) -> Sequence[ControlRequest]:
        return [] if self._translator is None else self._translator.requests()
