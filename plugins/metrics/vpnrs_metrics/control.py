"""The plugin's request on the local sockets: the same text as the endpoint's, for `vpnrs metrics show`."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic
from pydantic import Field

from vpnrs_core.interfaces import ControlRequest
from vpnrs_metrics.endpoint import Endpoint
from vpnrs_metrics.exposition import Exposition

OPENMETRICS = "application/openmetrics-text"


class Show(pydantic.BaseModel):
    """`metrics.show`: takes nothing."""

    model_config = pydantic.ConfigDict(extra="forbid")


class Shown(pydantic.BaseModel):
    """What a scraper would get."""

    port: int | None = Field(description="TCP port in use, null: none.")
    text: str = Field(description="OpenMetrics text.")


def requests(exposition: Exposition, endpoint: Endpoint) -> Sequence[ControlRequest]:
    """For the hook."""

    async def show(_: Show) -> Shown:
        body, _content_type = await exposition.text(OPENMETRICS)
        return Shown(port=endpoint.port, text=body.decode())

    return [ControlRequest("show", Show, show, True)]
