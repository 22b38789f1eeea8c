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
        text = "nat44 is set, and [session] routes pushes no IPv4 route; push one (0.0.0.0/0 for all of IPv4), unless"
        yield Finding("warning", f"[forwarding] {text} clients have routes of their own")
    yield from _pushed_dns(server)


def _pushed_dns(server: ServerConfig) -> Iterator[Finding]:
    addresses = server.addresses
    pools = {4: addresses.ipv4, 6: addresses.ipv6}
    for address in server.session.dns:
        where = f"[session] dns: {address}"
        if address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast:
            text = "means something else at each client; push an address that the tunnel leads to, the server's own say"
            yield Finding("error", f"{where} {text}")
        elif addresses.allocator == "pool" and pools[address.version] is None:
            family = f"IPv{address.version}"
            text = f"is {family}, and clients get no {family} address, so they do not ask it; set [addresses]"
            yield Finding("warning", f"{where} {text} ipv{address.version}, or remove it")


def _client(client: ClientConfig) -> Iterator[Finding]:
    server = _server_address(client)
    if server is not None and ip_network(server) in client.routes:
        text = f"routes has {server}, the server's own address, which the tunnel cannot lead to; name a network around"
        yield Finding("error", f"{text} it, which leaves the server out by itself")
    wanted = {network.version for network in client.wanted}
    for route in client.routes if wanted else ():
        if route.version not in wanted:
            text = f"routes: {route} is IPv{route.version}, and wanted asks for no such address, so it is not set; add"
            yield Finding("warning", f"{text} {_everything(route.version)} to wanted, or remove the route")
    if client.kill_switch:
        yield from _kill_switch(client, server)
    else:
        yield from _beside(client)


def _beside(client: ClientConfig) -> Iterator[Finding]:
    """All of one family in the tunnel, and the other one still beside it."""
    whole = [version for version in (4, 6) if _covers_all(client, version)]
    if len(whole) == 1:
        other = 10 - whole[0]
        text = f"routes leads all of IPv{whole[0]} into the tunnel and leaves IPv{other} beside it; add"
        pushed = ", unless the server pushes it" if client.accept_routes else ""
        yield Finding("warning", f"{text} {_everything(other)} to routes, or set kill_switch = true{pushed}")


def _kill_switch(client: ClientConfig, server: Address | None) -> Iterator[Finding]:
    missing = [version for version in (4, 6) if not _covers_all(client, version)]
    if missing:
        families = " and ".join(f"IPv{version}" for version in missing)
        text = f"kill_switch lets nothing leave but through the tunnel, and routes does not lead all of {families} into"
        pushed = ", unless the server pushes such routes" if client.accept_routes else ""
        add = " and ".join(map(_everything, missing))
        yield Finding(
            "warning", f"{text} it: the rest is cut off{pushed}; add {add} to routes to have it in the tunnel"
        )
    if server is None:
        text = "kill_switch with a server that is given by name: it is looked up before the switch closes; give its"
        yield Finding("warning", f"{text} address to have it closed from the first moment")
    if client.dns_domains or not client.accept_dns:
        names = "names outside of dns_domains are" if client.dns_domains else "with accept_dns = false all names are"
        mend = "remove dns_domains" if client.dns_domains else "set accept_dns = true"
        text = f"asked of this host's own DNS servers, and kill_switch cuts off those on its own networks; {mend}, or"
        yield Finding("warning", f"{names} {text} use servers that the tunnel leads to")
    if client.reconnect.attempts and not client.kill_switch_after_crash:
        text = f"attempts = {client.reconnect.attempts} ends vpnrs when the server stays away, and kill_switch opens"
        yield Finding("warning", f"[reconnect] {text} then; set attempts = 0, or kill_switch_after_crash = true")


def _everything(version: int) -> str:
    return "0.0.0.0/0" if version == 4 else "::/0"


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
    everything = ip_network(_everything(version))
    return everything in routes or set(everything.subnets()) <= routes


def _server_address(client: ClientConfig) -> Address | None:
    try:
        return ip_address(split_host_port(client.server)[0])
    except ValueError:
        return None
