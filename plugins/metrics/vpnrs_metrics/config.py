"""The table `[plugins.metrics]`: where to listen, and how much to show."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Self

import pydantic
from pydantic import Field

from vpnrs_core.config.fields import split_host_port
from vpnrs_core.config.secret import Secret


class MetricsConfig(pydantic.BaseModel):
    """Of a server as of a client."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    listen: str | None = Field(
        None,
        description='Address and port of the endpoint, which serves /metrics over HTTP. Default: "127.0.0.1:9464", or '
        "no TCP when `socket` is given. Anything but loopback needs a `token`.",
    )
    socket: Path | None = Field(
        None, description="A Unix socket to serve instead of TCP, made with mode 0660; relative to the configuration."
    )
    token: Secret | None = Field(
        None, description="Who asks must send it: `Authorization: Bearer …`. Not read again while the instance runs."
    )
    sessions: bool = Field(
        False,
        description="Show series of every session, labelled with its id and principal. They end with the session.",
    )
    max_sessions: int = Field(
        1000, ge=1, le=100_000, description="So many sessions have series of their own at most, the oldest ones."
    )

    @property
    def where(self) -> tuple[str, int] | None:
        """Host and port to listen on, None: a Unix socket only."""
        if self.listen is None and self.socket is not None:
            return None
        return split_host_port(self.listen or "127.0.0.1:9464")

    @pydantic.field_validator("listen")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            host, _ = split_host_port(value)
            ip_address(host)
        return value

    @pydantic.model_validator(mode="after")
    def _is_protected(self) -> Self:
        where = self.where
        if where is not None and not ip_address(where[0]).is_loopback and self.token is None:
            raise ValueError(
                f"listen {where[0]} can be reached from other hosts: add a token, or listen on 127.0.0.1 or a socket"
            )
        return self
