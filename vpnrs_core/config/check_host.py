"""Checks of what a configuration asks of the host, taken together: routes, kill switch, forwarding, masquerading."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from vpnrs_core.config.fields import split_host_port
from vpnrs_core.config.models import ClientConfig, Configuration, ServerConfig
from vpnrs_core.errors import HostError
from vpnrs_core.host.nft import quoted
from vpnrs_core.interfaces.common import Address
from vpnrs_core.interfaces.host import Finding


def check_host_settings(configuration: Configuration) -> Iterator[Finding]:
    """What contradicts itself is an error, what surprises a warning."""
    found = _server(configuration) if isinstance(configuration, ServerConfig) else _client(configuration)
    for finding in [*found, *_tun_name(configuration)]:
        yield Finding(finding.level, f"{configuration.where}: {finding.text}")


def _server(server: ServerConfig) -> Iterator[Finding]:
    forwarding = server.forwarding
    if forwarding.nat44 and server.addresses.allocator == "pool" and server.addresses.ipv4 is None:
        text = "nat44 masquerades the IPv4 pool, and there is none; set [addresses] ipv4, or remove it"
        yield Finding("error", f"[forwarding] {text}")
    for key in ("nat44", "clamp_mss"):
        if getattr(forwarding, key) and not forwarding.enable:
            text = "is about packets that this host forwards, and enable is false; set enable = true, unless it does so"
            yield Finding("warning", f"[forwarding] {key} {text} anyway")
    if forwarding.nat44 and not any(route.version == 4 for route in server.session.routes):
        text = "nat44 is set, and [session] routes pushes no IPv4 route; clients use it by routes of their own only"
        yield Finding("warning", f"[forwarding] {text}")


def _client(client: ClientConfig) -> Iterator[Finding]:
    server = _server_address(client)
    if server is not None and ip_network(server) in client.routes:
        text = f"routes has {server}, the server's own address, which the tunnel cannot lead to; name a network around"
        yield Finding("error", f"{text} it, which leaves the server out by itself")
    if client.kill_switch:
        yield from _kill_switch(client, server)


def _kill_switch(client: ClientConfig, server: Address | None) -> Iterator[Finding]:
    missing = [f"IPv{version}" for version in (4, 6) if not _covers_all(client, version)]
    if missing:
        text = "kill_switch lets nothing leave but through the tunnel, and routes does not lead all of"
        pushed = ", unless the server pushes such routes" if client.accept_routes else ""
        yield Finding("warning", f"{text} {' and '.join(missing)} into it: the rest is cut off{pushed}")
    if server is None:
        text = "kill_switch with a server that is given by name: it is looked up before the switch closes; give its"
        yield Finding("warning", f"{text} address to have it closed from the first moment")


def _tun_name(configuration: Configuration) -> Iterator[Finding]:
    if isinstance(configuration, ServerConfig):
        uses_nft = configuration.forwarding.nat44 or configuration.forwarding.clamp_mss
    else:
        uses_nft = configuration.kill_switch
    if uses_nft:
        try:
            quoted(configuration.tun.name)
        except HostError as error:
            yield Finding("error", str(error))


def _covers_all(client: ClientConfig, version: int) -> bool:
    routes = {route for route in client.routes if route.version == version}
    everything = ip_network("0.0.0.0/0" if version == 4 else "::/0")
    return everything in routes or set(everything.subnets()) <= routes


def _server_address(client: ClientConfig) -> Address | None:
    try:
        return ip_address(split_host_port(client.server)[0])
    except ValueError:
        return None
