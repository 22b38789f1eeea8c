"""The plugin `quota`: its hooks. What they return is made in the other files."""

from __future__ import annotations

from collections.abc import Sequence

from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Context, ControlRequest, GrantContributor, Service, StageFactory
from vpnrs_quota.account import Accounts
from vpnrs_quota.config import QuotaConfig
from vpnrs_quota.control import Control
from vpnrs_quota.grant import QuotaGrant
from vpnrs_quota.save import Saver
from vpnrs_quota.stage import MeterFactory


class Plugin:
    """At a client it does nothing: whoever is limited does not count."""

    Config = QuotaConfig
    DROP_REASONS = {"used_up": "the principal has used up its bytes"}

    def __init__(self, config: QuotaConfig, ctx: Context) -> None:
        self._config, self._ctx = config, ctx
        self._serves = ctx.role == "server"
        self._accounts = Accounts(config.of)

    @impl
    def vpnrs_register_packet_stages(self) -> Sequence[StageFactory]:
        return [MeterFactory(self._accounts)] if self._serves else []

    @impl
    def vpnrs_register_grant_contributors(self) -> Sequence[GrantContributor]:
        return [QuotaGrant(self._ctx, self._accounts)] if self._serves else []

    @impl
    def vpnrs_register_services(self) -> Sequence[Service]:
        return [Saver(self._ctx, self._accounts, self._config.save_interval)] if self._serves else []

    @impl
    def vpnrs_register_control(self) -> Sequence[ControlRequest]:
        return Control(self._ctx, self._accounts).requests() if self._serves else []
