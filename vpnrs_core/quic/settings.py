"""The QUIC transport's configuration: the table `[quic]`, and how a client knows its server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydantic
from pydantic import Field


class QuicConfig(pydantic.BaseModel):
    """The table `[quic]` of a server's or a client's configuration."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    engine: str = Field("auto", description='QUIC engine by name; "auto" takes the fastest one installed.')
    certificate: Path | None = Field(None, description="Server: file with its certificate chain, PEM, its own first.")
    key: Path | None = Field(
        None, description="Server: file with the private key of the certificate, PEM, unencrypted."
    )
    congestion: Literal["cubic", "reno"] = Field(
        "cubic", description="Congestion controller, for the engines that offer a choice."
    )
    max_udp_payload: int = Field(
        1472,
        ge=1200,
        le=65000,
        description="Largest UDP payload to send, bytes: how far a path is probed. 1472 fills an IPv4 packet of 1500, "
        "8972 one of 9000; IPv6 gets 20 less. An inner MTU of 1280 needs 1324.",
    )
    idle_timeout: float = Field(
        30.0, ge=1, le=600, description="A connection that has been silent for this many seconds is lost."
    )
    keepalive: float = Field(10.0, ge=0.1, le=300, description="A silent connection is pinged after this many seconds.")
    handshake_deadline: float = Field(
        10.0, gt=0, le=120, description="Server: a connection has this many seconds to authenticate."
    )
    max_unauthenticated: int = Field(
        256,
        ge=1,
        description="Server: connections at once that have not authenticated; beyond it new ones are dropped.",
    )
    max_unauthenticated_per_source: int = Field(
        16, ge=1, description="Server: the same for one source, an IPv4 address or an IPv6 /64."
    )
    retry_threshold: int = Field(
        64,
        ge=0,
        description="Server: with this many unauthenticated connections, new ones must prove their address (Retry). "
        "0: always.",
    )
    unauthenticated_cpu: float = Field(
        0.2, gt=0, le=1, description="Server: share of the loop's time that unauthenticated connections may use."
    )
    udp_gso: bool = Field(True, description="Send many datagrams with one call (UDP_SEGMENT) where the kernel can.")
    udp_gro: bool = Field(True, description="Receive many datagrams with one call (UDP_GRO) where the kernel can.")
    socket_buffer: int = Field(
        4 << 20, ge=64 << 10, le=1 << 30, description="Bytes of socket buffer asked for in each direction."
    )

    @pydantic.model_validator(mode="after")
    def _keepalive_before_idle(self) -> QuicConfig:
        if self.keepalive >= self.idle_timeout:
            raise ValueError(
                f"keepalive ({self.keepalive:g} s) must be shorter than idle_timeout ({self.idle_timeout:g} s)"
            )
        return self


@dataclass(frozen=True)
class ServerIdentity:
    """How a client recognises its server: `server_pin` ("sha256:" and hex or base64 of the SHA-256 of the public
    key), or `ca` ("system", or a PEM file) with `server_name` (default: the host that is dialled). With both, both
    must hold."""

    server_pin: str | None = None
    ca: str | None = None
    server_name: str | None = None
