"""The table `[plugins.webhook_auth]`, of server and client."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

import pydantic
from pydantic import Field

from vpnrs_core.config.secret import Secret


class WebhookConfig(pydantic.BaseModel):
    url: str | None = Field(None, description="Server: where to ask, https, or http on loopback.")
    secret: Secret | None = Field(
        None, description="Server: the key that signs what is asked; none: nothing is signed."
    )
    timeout: float = Field(3.0, gt=0, le=4.5, description="Server: seconds to wait for the answer.")
    token: Secret | None = Field(None, description="Client: its token.")

    @pydantic.field_validator("url")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if not parts.hostname or parts.scheme not in ("http", "https"):
            raise ValueError("is no address of a web service; write https://…")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ValueError("would send tokens readable for everyone on the way; use https")
        return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
