"""The plugin `trace`: its hooks. What they return is made in the other files."""

from __future__ import annotations

from collections.abc import Sequence

from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Context, ControlRequest
from vpnrs_trace.config import TraceConfig
from vpnrs_trace.control import Tracer


class Plugin:
    """At a server as at a client. Loaded, it costs nothing until somebody traces."""

    Config = TraceConfig

    def __init__(self, config: TraceConfig, ctx: Context) -> None:
        self._tracer = Tracer(config, ctx)

    @impl
    def vpnrs_register_control(self) -> Sequence[ControlRequest]:
        return self._tracer.requests()
