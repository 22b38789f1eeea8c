"""The configuration of a server."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Literal

from pydantic import Field

from vpnrs_core.config.fields import AnyAddress, AnyNetwork, HostV4, HostV6, Listen, PoolV4, PoolV6, Table
from vpnrs_core.config.tables import InstanceConfig


class AddressesConfig(Table):
    """`[addresses]`: the pools that clients' addresses come from."""

    allocator: str = Field("pool", description="NAME of the address allocator.")
    ipv4: Annotated[IPv4Network | None, PoolV4] = Field(
        None, description="IPv4 pool, for example 10.77.0.0/24; none: clients get no IPv4 address."
    )
    ipv6: Annotated[IPv6Network | None, PoolV6] = Field(
        None, description="IPv6 pool, for example fd77:1:2:3::/64; none: clients get no IPv6 address."
    )
    server_ipv4: Annotated[IPv4Address | None, HostV4] = Field(
        None, description="The server's own address in the IPv4 pool; default: the pool's first host."
    )
    server_ipv6: Annotated[IPv6Address | None, HostV6] = Field(
        None, description="The server's own address in the IPv6 pool; default: the pool's first host."
    )
    reserve: tuple[AnyAddress, ...] = Field((), description="Addresses of the pools that are never leased.")
    static: Mapping[str, tuple[AnyAddress, ...]] = Field(
        default_factory=dict, description="Addresses kept for one principal: its name and at most one address a family."
    )
    reuse_delay: float = Field(
        60.0, ge=0, description="Seconds that a freed address rests before another principal may get it."
    )


class ServerAuthConfig(Table):
    """`[auth]`: how clients prove who they are."""

    methods: tuple[str, ...] = Field(
        ("token",), min_length=1, description="NAMEs of the accepted authentication methods."
    )


class SessionConfig(Table):
    """`[session]`: what a client is granted, and for how long it may be away."""

    resume_window: float = Field(
        120.0, ge=0, le=86_400, description="Seconds that a session without a link keeps its addresses."
    )
    max_sessions: int = Field(1000, ge=1, description="Sessions at a time, parked ones included.")
    max_sessions_per_principal: int = Field(
        100,
        ge=1,
        description="The same for one principal. Keep it below the size of the pools, or one credential can take "
        "every address.",
    )
    isolation: bool = Field(
        True, description="Clients cannot reach each other through the server. Off: they can while this host forwards."
    )
    routes: tuple[AnyNetwork, ...] = Field((), description="Prefixes pushed to clients as routes into the tunnel.")
    dns: tuple[AnyAddress, ...] = Field((), description="DNS servers pushed to clients, preferred first.")


class ForwardingConfig(Table):
    """`[forwarding]`: packets between the tunnel and this host's other networks."""

    enable: bool = Field(
        False, description="Turn on the kernel's IP forwarding while the server runs, and put it back afterwards."
    )
    nat44: bool = Field(
        False, description="Give what comes from the IPv4 pool this host's address where it leaves (nftables)."
    )
    clamp_mss: bool = Field(
        False, description="Hold the MSS of forwarded TCP to the tunnel's MTU (nftables); nat44 does it anyway."
    )


class ServerConfig(InstanceConfig):
    """A server: listens, admits clients, owns the address pools."""

    role: Literal["server"] = Field("server", description="What this instance is: server or client.")
    listen: Listen = Field("0.0.0.0:4433", description="Address and UDP port to listen on; [::]:4433 for IPv6.")
    addresses: AddressesConfig = Field(default_factory=AddressesConfig, description="Address pools.")
    auth: ServerAuthConfig = Field(default_factory=ServerAuthConfig, description="How clients prove who they are.")
    session: SessionConfig = Field(default_factory=SessionConfig, description="What sessions are granted.")
    forwarding: ForwardingConfig = Field(default_factory=ForwardingConfig, description="IP forwarding of this host.")
