"""Configuration that both roles have: TUN, log, plugins' tables, and where the configuration came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field

from vpnrs_core.config.fields import InstanceName, Mtu, Table, TunName
from vpnrs_core.quic.settings import QuicConfig

# What a full-size datagram has around an inner packet: QUIC and frame 30, a longer packet number 2, context 1, index 1,
# vnet header 10 (docs/wire.md).
DATAGRAM_OVERHEAD = 44
# What it has at least: an engine that never writes a longer packet number says that more fits.
LEAST_OVERHEAD = 42


class TunConfig(Table):
    """`[tun]`: the device that packets enter and leave by."""

    name: TunName = Field("vpnrs%d", description="Name of the TUN device; %d is replaced by a free number.")
    mtu: Mtu = Field(
        "auto",
        description='Inner MTU: "auto" for what the path carries, found out and followed while the tunnel is up; or '
        "bytes, 576 to 65000. IPv6 needs at least 1280 (RFC 8200).",
    )
    mtu_raise_interval: float = Field(
        600.0, ge=1, le=86_400, description="Seconds between looks whether a path has come to carry more (RFC 8899)."
    )
    offload: bool = Field(
        True, description="Let the kernel hand over super-packets (GSO); false: one packet at a time."
    )

    @property
    def auto_mtu(self) -> bool:
        return self.mtu == "auto"

    @property
    def first_mtu(self) -> int:
        """What the TUN has before any path is known."""
        return 1280 if isinstance(self.mtu, str) else self.mtu


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

    @property
    def largest_mtu(self) -> int:
        """Of a session, whatever its path carries."""
        return self.quic.max_udp_payload - LEAST_OVERHEAD if isinstance(self.tun.mtu, str) else self.tun.mtu

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
