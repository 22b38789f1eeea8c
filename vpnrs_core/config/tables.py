"""Configuration that both roles have: TUN, log, plugins' tables, and where the configuration came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field

from vpnrs_core.config.fields import InstanceName, Table, TunName
from vpnrs_core.quic.settings import QuicConfig


class TunConfig(Table):
    """`[tun]`: the device that packets enter and leave by."""

    name: TunName = Field("vpnrs%d", description="Name of the TUN device; %d is replaced by a free number.")
    mtu: int = Field(
        1280, ge=576, le=65_000, description="Inner MTU in bytes, 576 to 65000; IPv6 needs at least 1280 (RFC 8200)."
    )
    offload: bool = Field(
        True, description="Let the kernel hand over super-packets (GSO); false: one packet at a time."
    )


class LogConfig(Table):
    """`[log]`: what goes to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least important messages shown: debug, info, warning or error."
    )
    format: Literal["human", "json"] = Field("human", description="human: one line of text; json: one object a line.")


class InstanceConfig(Table):
    """What a server and a client both have. `source` is the file it was loaded from, None: made in memory."""

    instance: InstanceName = Field("default", description="Name of this instance; each one on a host needs its own.")
    transport: str = Field("quic", description="NAME of the transport that makes connections.")
    scheduler: str = Field(
        "single", description="NAME of the link scheduler: which link of a session carries a packet."
    )
    store: str = Field("memory", description="NAME of the store that holds shared state.")
    quic: QuicConfig = Field(default_factory=QuicConfig, description="The QUIC transport.")
    tun: TunConfig = Field(default_factory=TunConfig, description="The TUN device.")
    log: LogConfig = Field(default_factory=LogConfig, description="What is logged, and how.")
    plugins: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, description="One table a plugin, [plugins.NAME]: naming a plugin turns it on."
    )

    _source: Path | None = pydantic.PrivateAttr(None)
    _where: str = pydantic.PrivateAttr("configuration")

    @property
    def source(self) -> Path | None:
        return self._source

    @property
    def where(self) -> str:
        """How messages name this configuration: the file as the user wrote it."""
        return self._where

    def sourced(self, source: Path | None) -> None:
        """Set once by whoever loaded the file."""
        if source is not None:
            self._source, self._where = source.absolute(), str(source)

    def path(self, relative: str) -> Path:
        """A path that the configuration names, relative to the folder of its file, made absolute."""
        folder = self._source.parent if self._source else Path()
        return (folder / Path(relative).expanduser()).absolute()
