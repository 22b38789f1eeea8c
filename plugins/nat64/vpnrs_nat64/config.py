"""The table `[plugins.nat64]` of a server: its keys, their defaults and their help."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from vpnrs_core.config.fields import split_host_port
from vpnrs_nat64.state import options
from vpnrs_nat64.translate.prefix import Prefix

_NO_HOSTS = (
    ("0.0.0.0/8", "means this host's own network"),
    ("127.0.0.0/8", "is a loopback address"),
    ("169.254.0.0/16", "is a link-local address"),
    ("224.0.0.0/4", "is a multicast address"),
    ("240.0.0.0/4", "is a reserved or broadcast address"),
)
# No packet that is routed bears an address out of these.
_NO_PREFIX = (
    ("::/32", "has the unspecified, loopback and IPv4-mapped addresses"),
    ("fe80::/10", "is link-local"),
    ("ff00::/8", "is multicast"),
)


def _prefix(value: Any) -> Any:
    """With the words of whoever knows which prefixes there are (RFC 6052 section 2.2)."""
    if isinstance(value, str):
        try:
            value = IPv6Network(value)
        except ValueError:
            raise ValueError(f"{value!r} is not an IPv6 prefix; write for example 64:ff9b::/96") from None
    if isinstance(value, IPv6Network):
        Prefix(value)
        for network, what in _NO_PREFIX:
            if value.overlaps(IPv6Network(network)):
                raise ValueError(f"{value} overlaps {network}, which {what}; write for example 64:ff9b:1::/96")
    return value


def _sources(value: Any) -> Any:
    """One address, or an array of them."""
    if value is None:
        return None
    many = value if isinstance(value, (list, tuple)) else [value]
    if not many:
        raise ValueError("names no address; remove the line to have one reserved")
    return tuple(_source(each) for each in many)


def _source(value: Any) -> IPv4Address:
    try:
        address = IPv4Address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 address") from None
    for network, what in _NO_HOSTS:
        if address in ip_network(network):
            raise ValueError(f"{address} {what}; choose an address that the hosts behind the server can route to it")
    return address


def _inner(value: Any) -> Any:
    """`[fd77::5]:80` → (address, port)."""
    if isinstance(value, str):
        try:
            host, port = split_host_port(value)
            value = (IPv6Address(host), port)
        except ValueError:
            raise ValueError(f"{value!r} is not an IPv6 address and port; write for example [fd77::5]:80") from None
        if not port:
            raise ValueError("port 0 cannot be reached; name the client's port")
    return value


Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=864_000)]


class StaticConfig(pydantic.BaseModel):
    """`[[plugins.nat64.static]]`: a port of the source address that always leads to the same client."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    protocol: Literal["tcp", "udp"] = Field(description="tcp or udp.")
    port: Port = Field(description="The port of the source address that hosts connect to.")
    to: Annotated[tuple[IPv6Address, int], pydantic.BeforeValidator(_inner)] = Field(
        description="The client's address and port, [fd77::5]:80; keep the address for it in [addresses] static."
    )
    source_ip: IPv4Address | None = Field(None, description="Which source address; default: the first.")


class Nat64Config(pydantic.BaseModel):
    """What a server translates, from which addresses, and for how long. A client needs none of it."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)

    prefix: Annotated[IPv6Network, pydantic.BeforeValidator(_prefix)] = Field(
        IPv6Network("64:ff9b::/96"),
        description="IPv4 addresses appear to clients behind this prefix: /32, /40, /48, /56, /64 or /96.",
    )
    source_ip: Annotated[tuple[IPv4Address, ...] | None, pydantic.BeforeValidator(_sources)] = Field(
        None,
        description="IPv4 address (or several) that translated packets come from. Default: the last free address of "
        "the IPv4 pool, reserved. The hosts behind must route it to this server, and it must not be this host's own.",
    )
    masquerade: bool = Field(
        False,
        description="Let what leaves this host bear the host's own address (nftables). Then source_ip may be any "
        "private address, and nobody needs a route to it; but only clients can begin.",
    )
    allow_private: bool = Field(
        False,
        description="Translate private IPv4 addresses behind the well-known prefix 64:ff9b::/96 too, which RFC 6052 "
        "forbids. Any other prefix may carry them anyway.",
    )
    push_route: bool = Field(True, description="Push the prefix to clients as a route into the tunnel.")
    port_range: tuple[Port, Port] = Field(
        (1, 65_535), description="Lowest and highest port of a source address that clients get."
    )
    address_dependent_filtering: bool = Field(
        False, description="Let in only packets from addresses that the client has sent to (RFC 4787 REQ-8)."
    )
    inbound_refresh: bool = Field(True, description="Packets from outside keep UDP and ICMP sessions alive as well.")
    udp_timeout: Seconds = Field(options.UDP_DEFAULT, description="Seconds of silence that end a UDP session.")
    tcp_established_timeout: Seconds = Field(
        options.TCP_EST, description="Seconds of silence after which an open TCP connection is probed."
    )
    tcp_transitory_timeout: Seconds = Field(
        options.TCP_TRANS, description="Seconds that a TCP connection has to open, to close, or to answer the probe."
    )
    tcp_syn_timeout: Seconds = Field(
        options.TCP_INCOMING_SYN, description="Seconds that a SYN from outside waits for the client's own SYN."
    )
    icmp_timeout: Seconds = Field(options.ICMP_DEFAULT, description="Seconds of silence that end an echo session.")
    fragment_timeout: Annotated[float, Field(ge=options.FRAGMENT_MIN, le=60)] = Field(
        5.0, description="Seconds that a fragment waits for the others, 2 at least."
    )
    max_bindings: Annotated[int, Field(ge=1)] = Field(100_000, description="Bindings of all clients together.")
    max_sessions: Annotated[int, Field(ge=1)] = Field(
        200_000, description="Sessions of all clients together; packets from outside make none beyond half of them."
    )
    max_bindings_per_client: Annotated[int, Field(ge=1)] = Field(4096, description="Bindings that one client may have.")
    max_sessions_per_client: Annotated[int, Field(ge=2)] = Field(
        8192, description="Sessions that one client may have; packets from outside make at most half of them."
    )
    icmp_errors_per_second: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        100,
        description="ICMP errors of the translator's own, a second, to each client, and to all hosts outside together; "
        "0: none.",
    )
    tos: Annotated[int, Field(ge=0, le=255)] | None = Field(
        None, description="Value for TOS and traffic class of translated packets. Default: copied."
    )
    static: tuple[StaticConfig, ...] = Field((), description="Ports that always lead to the same client.")

    @pydantic.field_validator("port_range")
    @classmethod
    def _ordered(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[0] > value[1]:
            raise ValueError(f"{list(value)} begins above its end; write [{value[1]}, {value[0]}]")
        return value
