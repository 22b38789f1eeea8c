"""The table against the rest of the server's configuration, and the source addresses that come of both."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from vpnrs_core.config.models import ServerConfig
from vpnrs_core.interfaces import Finding
from vpnrs_nat64.config import Nat64Config
from vpnrs_nat64.state import options

TABLE = "[plugins.nat64]"
# Key → the RFC's minimum in seconds, and where it says so.
MINIMA = {
    "udp_timeout": (options.UDP_MIN, "RFC 4787 REQ-5"),
    "tcp_established_timeout": (options.TCP_EST, "RFC 5382 REQ-5"),
    "tcp_transitory_timeout": (options.TCP_TRANS, "RFC 5382 REQ-5"),
    "tcp_syn_timeout": (options.TCP_INCOMING_SYN, "RFC 5382 REQ-4"),
    "icmp_timeout": (options.ICMP_DEFAULT, "RFC 5508 REQ-1"),
}


def source_addresses(config: Nat64Config, server: ServerConfig) -> Sequence[IPv4Address]:
    """Those that the table names, else the last free one of the IPv4 pool; none when there is neither."""
    if config.source_ip is not None:
        return config.source_ip
    pool = server.addresses.ipv4
    free = None if pool is None else _last_free(server, pool)
    return () if free is None else (free,)


def reserved(sources: Sequence[IPv4Address], server: ServerConfig) -> list[IPv4Address]:
    """Those that the pool would otherwise lease."""
    pool = server.addresses.ipv4
    return [each for each in sources if pool is not None and each in pool and each not in server.addresses.reserve]


def check(config: Nat64Config, server: ServerConfig, is_local: Callable[[IPv4Address], bool]) -> list[Finding]:
    """`is_local`: whether an address is this host's own."""
    return [
        *(Finding("error", f"{server.where}: {TABLE} {text}") for text in _errors(config, server, is_local)),
        *(Finding("warning", f"{server.where}: {TABLE} {text}") for text in _warnings(config, server)),
    ]


def is_local(address: IPv4Address) -> bool:
    """Whether a socket can be bound to the address: the kernel then takes what arrives for it."""
    try:
        if Path("/proc/sys/net/ipv4/ip_nonlocal_bind").read_text().strip() != "0":
            return False  # every address can be bound: this tells nothing
    except OSError:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _errors(config: Nat64Config, server: ServerConfig, is_local: Callable[[IPv4Address], bool]) -> Iterator[str]:
    addresses = server.addresses
    if addresses.ipv6 is None:
        yield "needs clients with IPv6 addresses. Set [addresses] ipv6, for example fd77:1:2:3::/64"
    elif config.prefix.overlaps(addresses.ipv6):
        yield (
            f"prefix {config.prefix} overlaps the pool {addresses.ipv6}, whose addresses are clients'. Choose another, "
            f"for example 64:ff9b:1::/96"
        )
    sources = source_addresses(config, server)
    if not sources:
        pool = addresses.ipv4
        what = "there is no IPv4 pool to reserve one from" if pool is None else f"{pool} has no free address left"
        yield f"source_ip is not set, and {what}. Name an IPv4 address that the hosts behind route to this server"
    for number, source in enumerate(sources):
        if source in sources[:number]:
            yield f"source_ip names {source} twice. Keep one"
        problem = _problem(source, server, is_local)
        if problem:
            yield f"source_ip {source} {problem}"
    yield from _static(config, server, sources)


def _problem(source: IPv4Address, server: ServerConfig, is_local: Callable[[IPv4Address], bool]) -> str:
    pool, addresses = server.addresses.ipv4, server.addresses
    choose = "Name another"
    if pool is not None:
        choose = f"Choose a free address of {pool}, or remove the line to have one reserved"
        if source == (addresses.server_ipv4 or pool.network_address + 1):
            return f"is this server's own address; replies would never reach the translator. {choose}."
        if source in (pool.network_address, pool.broadcast_address):
            return f"is the network or broadcast address of {pool}. {choose}."
    for name, kept in addresses.static.items():
        if source in kept:
            return f"is kept for {name} in [addresses] static. {choose}."
    if is_local(source):
        return f"is an address of this host; replies would never reach the translator. {choose}."
    return ""


def _static(config: Nat64Config, server: ServerConfig, sources: Sequence[IPv4Address]) -> Iterator[str]:
    outer, inner = set(), set()
    for static in config.static:
        source = static.source_ip or (sources[0] if sources else None)
        where = f"static: {static.protocol} port {static.port}"
        if static.source_ip is not None and static.source_ip not in sources:
            yield f"{where}: {static.source_ip} is not one of source_ip. Name one of {', '.join(map(str, sources))}"
        if (static.protocol, source, static.port) in outer:
            yield f"{where} is bound twice. Keep one"
        if (static.protocol, static.to) in inner:
            yield f"{where}: [{static.to[0]}]:{static.to[1]} has another port already. Keep one"
        outer.add((static.protocol, source, static.port))
        inner.add((static.protocol, static.to))
        if server.addresses.ipv6 is not None and static.to[0] not in server.addresses.ipv6:
            yield f"{where}: {static.to[0]} is outside the pool {server.addresses.ipv6}, so no client has it"


def _warnings(config: Nat64Config, server: ServerConfig) -> Iterator[str]:
    for key, (least, source) in MINIMA.items():
        value = getattr(config, key)
        if value < least:
            yield f"{key} {value:g} is below the {least:g} seconds of {source}; applications may lose connections"
    if not config.push_route and config.prefix not in server.session.routes:
        yield (
            f"push_route is off and {config.prefix} is not in [session] routes, so clients that do not route it "
            f"themselves reach no IPv4 host"
        )
    if config.masquerade and config.static:
        yield (
            "masquerade hides source_ip from the hosts behind, so nobody reaches the ports of "
            "[[plugins.nat64.static]]. Remove one of them, and with masquerade gone route source_ip to this host"
        )
    if not server.session.dns:
        yield (
            "no DNS server is pushed ([session] dns): clients find names that have IPv4 addresses only "
            "through a resolver with DNS64"
        )


def _last_free(server: ServerConfig, pool: IPv4Network) -> IPv4Address | None:
    taken = {server.addresses.server_ipv4 or pool.network_address + 1, *server.addresses.reserve}
    taken |= {address for kept in server.addresses.static.values() for address in kept}
    for number in range(int(pool.broadcast_address) - 1, int(pool.network_address), -1):
        address = IPv4Address(number)
        if address not in taken:
            return address
    return None
