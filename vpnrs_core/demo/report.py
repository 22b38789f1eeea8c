"""The object that `vpnrs demo --json` prints. docs/demo.md is its documentation."""

from __future__ import annotations

import json

from pydantic import BaseModel, Field


class _Model(BaseModel, extra="forbid"):
    pass


class DemoStep(_Model):
    """One step, in the order in which they were done."""

    name: str = Field(description="What was done.")
    ok: bool = Field(description="Whether it worked.")
    seconds: float = Field(description="How long it took.")
    error: str | None = Field(None, description="What went wrong; left out when nothing did.")


class PingTimes(_Model):
    """Mean round trips through the tunnel, client to server and back."""

    v4: float | None = Field(None, description="IPv4, milliseconds.")
    v6: float | None = Field(None, description="IPv6, milliseconds.")


class TcpRates(_Model):
    """One TCP stream through the tunnel, as received."""

    up: float | None = Field(None, description="Client to server, Mbit/s.")
    down: float | None = Field(None, description="Server to client, Mbit/s.")


class Nat64Page(_Model):
    """A page that a client with IPv6 only fetched over HTTP from a host with IPv4 only."""

    url: str = Field(description="What the client asked for: the host's IPv4 address behind the translation prefix.")
    client: str = Field(description="The client's address in the tunnel, its only one there, IPv6.")
    seen_from: str = Field(description="The IPv4 address that the host saw the request come from.")
    bytes: int = Field(description="Length of the page, compared with what the host sent.")
    ms: float = Field(description="From opening the connection to the last byte, milliseconds.")


class DemoReport(_Model):
    """The object that `vpnrs demo --json` prints. What was not measured is null."""

    ok: bool = Field(False, description="All steps worked and nothing was left behind; the exit code is 0 then only.")
    handshake_ms: float | None = Field(
        None, description="From dialling to a tunnel that is set up, as the client measured it, milliseconds."
    )
    ping_ms: PingTimes = Field(default_factory=PingTimes, description="Ping through the tunnel.")
    tcp_mbit: TcpRates = Field(default_factory=TcpRates, description="TCP through the tunnel.")
    behind_server_bytes: int = Field(
        0, description="Bytes of TCP payload to and from the host behind the server, both families together."
    )
    nat64: Nat64Page | None = Field(
        None, description="The page through NAT64; null also when the plugin nat64 is not installed."
    )
    engine: str | None = Field(None, description="NAME of the QUIC engine.")
    plugins: list[str] = Field(default_factory=list, description="Names of the plugins that both sides had loaded.")
    left_behind: list[str] = Field(
        default_factory=list,
        description="What was still there in the end: processes, interfaces, routes, namespaces, files; empty when "
        "all is clean.",
    )
    steps: list[DemoStep] = Field(default_factory=list, description="What was done, in this order.")

    def to_json(self) -> str:
        data = self.model_dump()
        for step in data["steps"]:
            if step["error"] is None:
                del step["error"]
        return json.dumps(data, indent=2)
