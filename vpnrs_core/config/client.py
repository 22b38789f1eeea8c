"""The configuration of a client."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from vpnrs_core.config.fields import AnyNetwork, Dial, Domain, Table, WantedNetwork
from vpnrs_core.config.tables import InstanceConfig


class ClientAuthConfig(Table):
    """`[auth]`: how this client proves who it is."""

    method: str = Field("token", description="NAME of the authentication method.")


class ReconnectConfig(Table):
    """`[reconnect]`: what happens when the server cannot be reached or the connection is lost."""

    min: float = Field(1.0, gt=0, le=3600, description="Seconds before the second attempt; doubles from then on.")
    max: float = Field(60.0, gt=0, le=86_400, description="Longest wait between two attempts, in seconds.")
    jitter: float = Field(
        0.5,
        ge=0,
        le=60,
        description="Up to this many seconds are added to each wait at random; to one that the server asked for, "
        "up to a tenth of it (30 s at most) if that is more.",
    )
    attempts: int = Field(0, ge=0, description="Attempts in a row without success before giving up; 0: no limit.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max ({self.max:g} s) is shorter than min ({self.min:g} s); raise max or lower min")
        return self


class ClientConfig(InstanceConfig):
    """A client: dials the server, gets addresses, routes into the tunnel.

    The server is verified in exactly one way: `server_pin`, or `ca` with `server_name`."""

    role: Literal["client"] = Field("client", description="What this instance is: server or client.")
    server: Dial = Field("127.0.0.1:4433", description="Host and UDP port of the server.")
    server_pin: str | None = Field(
        None, description="SHA-256 of the server's public key, as `vpnrs init` prints it: the only key accepted."
    )
    ca: str | None = Field(
        None, description="File of CA certificates (PEM) that vouch for the server, or system: those of this host."
    )
    server_name: str | None = Field(
        None, min_length=1, description="Name that the server's certificate must bear; default: the host of `server`."
    )
    auth: ClientAuthConfig = Field(default_factory=ClientAuthConfig, description="How this client proves who it is.")
    routes: tuple[AnyNetwork, ...] = Field((), description="Prefixes routed into the tunnel besides the server's own.")
    accept_routes: bool = Field(True, description="Set the routes that the server pushes.")
    accept_dns: bool = Field(True, description="Ask the DNS servers that the server pushes.")
    dns_domains: tuple[Domain, ...] = Field(
        (), description="Ask them for names in these domains only, where this host's resolver can; none: for all names."
    )
    kill_switch: bool = Field(
        False, description="Let nothing leave this host but through the tunnel (nftables), from the start to the stop."
    )
    kill_switch_after_crash: bool = Field(
        False, description="Leave it closed after a crash or an error; `vpnrs stop` and `vpnrs doctor --fix` open it."
    )
    lane: Literal["datagram", "stream"] = Field(
        "datagram", description="datagram: QUIC datagrams; stream: one ordered stream, for paths that stall datagrams."
    )
    wanted: tuple[WantedNetwork, ...] = Field(
        (), description="Addresses or prefixes hoped for; the server decides. Empty: one of each family it has."
    )
    reconnect: ReconnectConfig = Field(default_factory=ReconnectConfig, description="Waits between attempts.")

    @model_validator(mode="after")
    def _switch_is_there(self) -> Self:
        if self.kill_switch_after_crash and not self.kill_switch:
            raise ValueError("kill_switch_after_crash needs kill_switch = true; set it, or remove the line")
        if self.dns_domains and not self.accept_dns:
            raise ValueError("dns_domains needs accept_dns = true; set it, or remove dns_domains")
        return self

    @model_validator(mode="after")
    def _server_is_verified(self) -> Self:
        """Never unverified: whoever answers at an address is not yet the server."""
        if self.server_pin is None and self.ca is None:
            raise ValueError(
                "nothing verifies the server: set server_pin to the value that `vpnrs init` printed at the server, "
                'or ca to a file of CA certificates (ca = "system" for those of this host)'
            )
        if self.server_pin is not None and (self.ca is not None or self.server_name is not None):
            other = "ca" if self.ca is not None else "server_name"
            raise ValueError(f"server_pin and {other} exclude each other: a pin already names the one key; remove one")
        return self
