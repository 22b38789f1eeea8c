"""The plugin `qh3`: its hook."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic

from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Context, QuicEngine
from vpnrs_qh3.engine import Qh3Engine


class Plugin:
    """Loading it refuses the start when the installed qh3 is one that the adapter does not understand."""

    def __init__(self, config: pydantic.BaseModel, ctx: Context) -> None:
        self._engine = Qh3Engine()

    @impl
    def vpnrs_register_quic_engines(self) -> Sequence[QuicEngine]:
        return [self._engine]
