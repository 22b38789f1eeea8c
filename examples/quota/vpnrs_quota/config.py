"""The table `[plugins.quota]`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pydantic
from pydantic import Field


class Limits(pydantic.BaseModel):
    """What one principal may. None: no limit."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    bytes: int | None = Field(None, ge=0, description="Bytes that it may move, both directions together.")
    period: float | None = Field(None, gt=0, description="Seconds after which the bytes begin again; none: never.")
    down: int | None = Field(None, gt=0, description="Bits a second towards the client, for all its sessions together.")
    up: int | None = Field(None, gt=0, description="Bits a second from the client, for all its sessions together.")
    sessions: int = Field(1, ge=1, description="Sessions at a time.")
    expires: datetime | None = Field(None, description="When it may not come in any more, with its time zone.")

    @pydantic.field_validator("expires")
    @classmethod
    def _with_zone(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("needs a time zone, as in 2027-01-01T00:00:00Z")
        return value


class QuotaConfig(pydantic.BaseModel):
    default: Limits = Field(Limits(), description="Limits of everyone who is not named.")
    principals: Mapping[str, Limits] = Field({}, description="Limits by the principal's name.")
    save_interval: float = Field(5.0, gt=0, description="Seconds between two writes to the store.")

    def of(self, name: str) -> Limits:
        return self.principals.get(name, self.default)
