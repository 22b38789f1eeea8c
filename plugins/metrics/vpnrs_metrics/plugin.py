"""The plugin `metrics`: its hooks. What they return is made in the other files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Context, ControlRequest, Service
from vpnrs_metrics.config import MetricsConfig
from vpnrs_metrics.control import requests
from vpnrs_metrics.endpoint import Endpoint
from vpnrs_metrics.exposition import Exposition


class Plugin:
    """At a server as at a client."""

    Config = MetricsConfig

    def __init__(self, config: MetricsConfig, ctx: Context) -> None:
        self._exposition = Exposition(ctx, config.sessions, config.max_sessions)
        path = None if config.socket is None else Path(ctx.path(str(config.socket)))
        token = None if config.token is None else config.token.read()
        self._endpoint = Endpoint(ctx, self._exposition, config.where, path, token)

    @impl
    def vpnrs_register_services(self) -> Sequence[Service]:
        return [self._endpoint]

    @impl
    def vpnrs_register_control(self) -> Sequence[ControlRequest]:
        return requests(self._exposition, self._endpoint)
