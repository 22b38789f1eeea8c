"""The table `[plugins.trace]`: what one trace may cost."""

from __future__ import annotations

import pydantic
from pydantic import Field


class TraceConfig(pydantic.BaseModel):
    """Of a server as of a client."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    max_seconds: float = Field(300.0, gt=0, le=3600, description="A trace ends after this many seconds at the latest.")
    max_bytes: int = Field(
        16 << 20,
        ge=4096,
        le=1 << 30,
        description="Bytes of packets that wait to be fetched at most; what does not fit is counted, not kept.",
    )
