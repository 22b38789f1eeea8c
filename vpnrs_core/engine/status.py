"""The schema of `vpnrs status --json`: what request `core.status` answers, for a server and for a client."""

from __future__ import annotations

from typing import Literal

import pydantic
from pydantic import Field


class Traffic(pydantic.BaseModel):
    """One direction's counters. A super-packet counts as the packets that it stands for."""

    packets: int = Field(0, description="IP packets.")
    bytes: int = Field(0, description="Bytes of these packets, IP headers included.")


class LinkStatus(pydantic.BaseModel):
    """One link of a session."""

    remote: str = Field(description="The peer's address and port in the underlay.")
    transport: str = Field(description="NAME of the transport.")
    lane: str = Field(description="datagram or stream.")
    rtt_ms: float | None = Field(None, description="Smoothed round-trip time in milliseconds, null: not known yet.")
    codecs: list[str] = Field(default_factory=list, description="Accepted codecs, preferred first.")
    facts: dict[str, str | int | float] = Field(default_factory=dict, description="The transport's own figures.")


class SessionStatus(pydantic.BaseModel):
    """One session, as the server or the client sees it."""

    id: str = Field(description="The session's id, no secret.")
    principal: str = Field(description="Name of who was authenticated.")
    state: Literal["active", "parked"] = Field(description="parked: without a link, addresses kept for a while.")
    addresses: list[str] = Field(default_factory=list, description="Leased addresses.")
    mtu: int = Field(description="Inner MTU in bytes.")
    age_seconds: float = Field(description="Seconds since the session was granted.")
    links: list[LinkStatus] = Field(default_factory=list, description="Live links, oldest first.")
    ingress: Traffic = Field(default_factory=Traffic, description="Packets from this peer to the TUN.")
    egress: Traffic = Field(default_factory=Traffic, description="Packets from the TUN to this peer.")
    queue_bytes: int = Field(0, description="Bytes that wait to be sent to this peer.")
    drops: dict[str, int] = Field(default_factory=dict, description="Dropped packets of this session by reason.")


class PoolStatus(pydantic.BaseModel):
    """One address pool."""

    prefix: str = Field(description="The pool.")
    leased: int = Field(description="Addresses in use.")
    leasable: int = Field(description="Addresses that can be in use at once.")


class ServerStatus(pydantic.BaseModel):
    """What only a server has."""

    listen: str = Field(description="Address and port in use.")
    pools: list[PoolStatus] = Field(default_factory=list, description="Usage of each address pool.")
    sessions: list[SessionStatus] = Field(default_factory=list, description="All sessions, parked ones included.")
    door: dict[str, int] = Field(
        default_factory=dict,
        description="Peers that have not authenticated: `waiting` now; since the start connections `accepted`, those "
        "`never_authenticated`, packets answered statelessly (`retry`, `version_negotiation`), and dropped by reason.",
    )


class ClientStatus(pydantic.BaseModel):
    """What only a client has."""

    server: str = Field(description="The configured server.")
    session: SessionStatus | None = Field(None, description="The session, null: there is none.")
    addresses: list[str] = Field(default_factory=list, description="Own addresses with prefix lengths.")
    routes: list[str] = Field(default_factory=list, description="Prefixes routed into the tunnel.")
    connected_seconds: float | None = Field(None, description="Seconds since the last connect, null: not connected.")
    attempts: int = Field(0, description="Attempts since the last success.")
    last_error: str | None = Field(None, description="Why the last attempt or connection ended, null: no failure yet.")
    next_try_seconds: float | None = Field(None, description="Seconds until the next attempt, null: none is planned.")


class TunStatus(pydantic.BaseModel):
    """The TUN device."""

    name: str = Field(description="Name of the device.")
    mtu: int = Field(description="Its MTU in bytes.")
    offloads: list[str] = Field(default_factory=list, description="Offloads in use: tcp4, tcp6, udp4, udp6.")


class PluginStatus(pydantic.BaseModel):
    """One loaded plugin."""

    name: str = Field(description="Name of the plugin; core: the built-ins.")
    version: str = Field(description="Version of its distribution.")
    failures: int = Field(0, description="How often it raised since the start.")


class InstanceStatus(pydantic.BaseModel):
    """The object that `vpnrs status --json` prints."""

    schema_version: Literal[1] = Field(1, description="Version of this schema; added fields do not raise it.")
    role: Literal["server", "client"] = Field(description="What the instance is.")
    instance: str = Field(description="Name of the instance.")
    version: str = Field(description="Version of vpnrs-core.")
    pid: int = Field(description="Process id.")
    uptime_seconds: float = Field(description="Seconds since the start.")
    state: Literal["starting", "listening", "connecting", "connected", "waiting", "stopping"] = Field(
        description="server: starting, listening, stopping; client: starting, connecting, connected, waiting "
        "(for the next attempt), stopping."
    )
    transport: str = Field(description="NAME of the transport.")
    engine: str = Field("", description="NAME of the QUIC engine, empty: the transport has none.")
    plugins: list[PluginStatus] = Field(default_factory=list, description="Loaded plugins, the built-ins first.")
    tun: TunStatus | None = Field(None, description="The TUN device, null: not open yet.")
    drops: dict[str, int] = Field(default_factory=dict, description="Dropped packets of the instance by reason.")
    server: ServerStatus | None = Field(None, description="Of a server, else null.")
    client: ClientStatus | None = Field(None, description="Of a client, else null.")


class StatusRequest(pydantic.BaseModel):
    """`core.status`: takes nothing."""

    model_config = pydantic.ConfigDict(extra="forbid")


class StopRequest(pydantic.BaseModel):
    """`core.stop`: takes nothing; the answer comes before the instance ends."""

    model_config = pydantic.ConfigDict(extra="forbid")


class Stopping(pydantic.BaseModel):
    """The answer to `core.stop`."""

    pid: int = Field(description="The process that is now stopping.")
