"""The schema of `vpnrs status --json`: what request `core.status` answers, for a server and for a client."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
from pydantic import Field


class Traffic(pydantic.BaseModel):
    """One direction's counters. A super-packet counts as the packets that it stands for."""

    packets: int = Field(0, description="IP packets.")
    bytes: int = Field(0, description="Bytes of these packets, IP headers included.")
    bytes_per_second: int = Field(0, description="The present rate: over the last one to four seconds.")
    history: list[int] = Field(
        default_factory=list, description="Bytes a second in each two seconds of the last minute, oldest first."
    )


class LinkStatus(pydantic.BaseModel):
    """One link of a session. Null: not known (yet)."""

    local: str = Field("", description="The own address and port in the underlay.")
    remote: str = Field(description="The peer's address and port in the underlay.")
    transport: str = Field(description="NAME of the transport.")
    engine: str = Field("", description="NAME of the QUIC engine, empty: the transport has none.")
    lane: str = Field(description="datagram or stream.")
    age_seconds: float = Field(0.0, description="Seconds since it began to carry the session.")
    handshake_ms: float | None = Field(
        None,
        description="How long it took to open: at a client from dialling, at a server from the connection's arrival.",
    )
    rtt_ms: float | None = Field(
        None, description="Smoothed round-trip time in milliseconds: of the heartbeats, else the engine's."
    )
    rtt_variation_ms: float | None = Field(None, description="Mean deviation of the heartbeats' round-trip time.")
    path_rtt_ms: float | None = Field(None, description="Smoothed round-trip time as the engine measures it.")
    loss: float | None = Field(None, description="Part of the sent QUIC packets that was lost, 0 to 1.")
    congestion_controller: str = Field("", description="Congestion controller, empty: the engine does not say.")
    congestion_window: int | None = Field(None, description="Congestion window in bytes.")
    bytes_in_flight: int | None = Field(None, description="Bytes sent and not acknowledged.")
    datagram_size: int | None = Field(None, description="Largest UDP payload that is sent on this path, bytes.")
    migrations: int = Field(0, description="How often the path became another.")
    payloads_sent: int = Field(0, description="Payloads handed to the lane.")
    payloads_received: int = Field(0, description="Payloads that the lane delivered.")
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
    expires_seconds: float | None = Field(None, description="Seconds until the credential expires, null: never.")
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
    frames_read: int = Field(0, description="Frames from the kernel; a super-packet is one.")
    frames_written: int = Field(0, description="Frames to the kernel.")


class PluginStatus(pydantic.BaseModel):
    """One loaded plugin."""

    name: str = Field(description="Name of the plugin; core: the built-ins.")
    version: str = Field(description="Version of its distribution.")
    failures: int = Field(0, description="How often it raised since the start.")
    slow: int = Field(0, description="How often one call of its code kept the loop for 0.1 s or more.")


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
    memory_bytes: int = Field(0, description="Memory of the process that is resident.")
    ingress: Traffic = Field(default_factory=Traffic, description="Peers to the TUN, of all sessions, ended ones too.")
    egress: Traffic = Field(default_factory=Traffic, description="The TUN to peers, of all sessions, ended ones too.")
    queue_bytes: int = Field(0, description="Bytes that wait in the sessions' queues.")
    drops: dict[str, int] = Field(default_factory=dict, description="Dropped packets of the instance by reason.")
    reconnects: int = Field(0, description="server: resumed sessions; client: connects after the first.")
    migrations: int = Field(0, description="Changes of a link's path, of all links.")
    events: dict[str, int] = Field(default_factory=dict, description="How often each event happened, if it did.")
    udp: dict[str, int] = Field(
        default_factory=dict, description="Datagrams and bytes of the transport's sockets, closed ones included."
    )
    server: ServerStatus | None = Field(None, description="Of a server, else null.")
    client: ClientStatus | None = Field(None, description="Of a client, else null.")


class SummaryStatus(pydantic.BaseModel):
    """What everybody on the host may know: `vpnrs status` prints it for those who may not ask for more."""

    schema_version: Literal[1] = Field(1, description="Version of this schema; added fields do not raise it.")
    role: Literal["server", "client"] = Field(description="What the instance is.")
    instance: str = Field(description="Name of the instance.")
    version: str = Field(description="Version of vpnrs-core.")
    state: str = Field(description="As in InstanceStatus.")
    uptime_seconds: float = Field(description="Seconds since the start.")
    sessions: int = Field(description="Sessions, parked ones too; a client has one at most.")
    ingress: Traffic = Field(default_factory=Traffic, description="Peers to the TUN, of all sessions.")
    egress: Traffic = Field(default_factory=Traffic, description="The TUN to peers, of all sessions.")
    dropped: int = Field(0, description="Packets dropped for any reason.")


def summary_of(status: InstanceStatus, sessions: int) -> SummaryStatus:
    """Without principals, addresses and what else is not everybody's. `status` may lack its sessions."""
    return SummaryStatus(
        role=status.role,
        instance=status.instance,
        version=status.version,
        state=status.state,
        uptime_seconds=status.uptime_seconds,
        sessions=sessions,
        ingress=status.ingress,
        egress=status.egress,
        dropped=sum(status.drops.values()),
    )


class LogRequest(pydantic.BaseModel):
    """`core.log`: what to change, null: leave it."""

    model_config = pydantic.ConfigDict(extra="forbid")
    level: Literal["debug", "info", "warning", "error"] | None = None
    format: Literal["human", "json"] | None = None


class LogState(pydantic.BaseModel):
    """The answer to `core.log`: what is in force."""

    level: Literal["debug", "info", "warning", "error"] = Field(description="Least important lines shown.")
    format: Literal["human", "json"] = Field(description="How a line looks.")


class StatusRequest(pydantic.BaseModel):
    """`core.status`."""

    model_config = pydantic.ConfigDict(extra="forbid")
    brief: bool = Field(
        False,
        description="Sessions without the last minute and without the transport's own figures, for who asks often.",
    )


class NothingRequest(pydantic.BaseModel):
    """`core.summary` and `core.walk`: they take nothing."""

    model_config = pydantic.ConfigDict(extra="forbid")


class StopRequest(pydantic.BaseModel):
    """`core.stop`: takes nothing; the answer comes before the instance ends."""

    model_config = pydantic.ConfigDict(extra="forbid")


class Stopping(pydantic.BaseModel):
    """The answer to `core.stop`."""

    pid: int = Field(description="The process that is now stopping.")


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of what `vpnrs status --json` prints."""
    schema = InstanceStatus.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
