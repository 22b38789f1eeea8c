"""Checks of pools, the server's own addresses, reservations, static leases and routes, against each other."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from vpnrs_core.builtin.pool import PoolAllocator
from vpnrs_core.config.models import Configuration, ServerConfig
from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces.common import Address, Network
from vpnrs_core.interfaces.host import Finding
from vpnrs_core.session.pool import LONGEST_PREFIX


def check_addresses(server: ServerConfig) -> list[Finding]:
    """Errors of `[addresses]`, each with its key. Nothing for another allocator than the built-in one.

    The allocator itself has the last word: it refuses at the first mistake, so it is asked when none is known."""
    if server.addresses.allocator != PoolAllocator.NAME:
        return []
    findings = list(_errors(server))
    if not findings:
        try:
            PoolAllocator.from_config(server.addresses, lambda: 0.0, server.where)
        except ConfigError as error:
            findings.append(Finding("error", str(error)))
    return findings


def _errors(server: ServerConfig) -> Iterator[Finding]:
    addresses = server.addresses
    pools = [pool for pool in (addresses.ipv4, addresses.ipv6) if pool is not None]
    if not pools:
        yield _error(server, 'has neither ipv4 nor ipv6; set at least one, for example ipv4 = "10.77.0.0/24"')
    for pool in pools:
        yield from _check_pool(server, pool)
        own = addresses.server_ipv4 if pool.version == 4 else addresses.server_ipv6
        yield from _check_own(server, pool, own)
    for version, own in ((4, addresses.server_ipv4), (6, addresses.server_ipv6)):
        if own is not None and not any(pool.version == version for pool in pools):
            yield _error(
                server, f"server_ipv{version} {own} has no pool; set ipv{version} or remove server_ipv{version}"
            )
    yield from _check_reserved(server, pools)
    yield from _check_static(server, pools)


def first_host(pool: Network) -> Address:
    """The address that the server takes when none is configured."""
    return pool.network_address + 1


def _check_pool(server: ServerConfig, pool: Network) -> Iterator[Finding]:
    longest = LONGEST_PREFIX[pool.version]
    if pool.prefixlen > longest:
        yield _error(
            server,
            f"ipv{pool.version} {pool} has no room for a server and a client; use a prefix of /{longest} or shorter",
        )


def _check_own(server: ServerConfig, pool: Network, own: Address | None) -> Iterator[Finding]:
    if own is None:
        return
    key = f"server_ipv{pool.version} {own}"
    if own not in pool:
        yield _error(server, f"{key} is outside the pool {pool}; choose one of its addresses or remove the line")
    elif own == pool.network_address:
        kind = "network address" if pool.version == 4 else "subnet-router anycast address (RFC 4291)"
        yield _error(server, f"{key} is the {kind} of {pool}; the first host is {first_host(pool)}")
    elif isinstance(pool, IPv4Network) and own == pool.broadcast_address:
        yield _error(server, f"{key} is the broadcast address of {pool}; the first host is {first_host(pool)}")


def _check_reserved(server: ServerConfig, pools: list[Network]) -> Iterator[Finding]:
    for address in server.addresses.reserve:
        if not any(address in pool for pool in pools):
            yield _error(server, f"reserve: {address} is outside every pool, so nothing would lease it; remove it")


def _check_static(server: ServerConfig, pools: list[Network]) -> Iterator[Finding]:
    owners: dict[Address, str] = {}
    for name, addresses in server.addresses.static.items():
        key = f"static.{name}: "
        versions = [address.version for address in addresses]
        for version in (4, 6):
            if versions.count(version) > 1:
                yield _error(server, f"{key}names {versions.count(version)} IPv{version} addresses; keep one a family")
        for address in addresses:
            problem = _static_problem(server, pools, address)
            if problem:
                yield _error(server, f"{key}{address} {problem}")
            elif owners.setdefault(address, name) != name:
                yield _error(server, f"{key}{address} is {owners[address]}'s already; give each principal its own")


def _static_problem(server: ServerConfig, pools: list[Network], address: Address) -> str:
    pool = next((pool for pool in pools if address in pool), None)
    if pool is None:
        return f"is outside every pool ({', '.join(map(str, pools)) or 'there is none'})"
    own = server.addresses.server_ipv4 if pool.version == 4 else server.addresses.server_ipv6
    if address == (own or first_host(pool)):
        return "is the server's own address; choose another"
    if address == pool.network_address or (isinstance(pool, IPv4Network) and address == pool.broadcast_address):
        return f"is the network or broadcast address of {pool}; choose another"
    if address in server.addresses.reserve:
        return "is in reserve as well; remove it from one of them"
    return ""


def check_routes(configuration: Configuration) -> Iterator[Finding]:
    """Routes of a family that the tunnel does not carry, and routes named twice or covered by a pool."""
    if isinstance(configuration, ServerConfig):
        key, routes = "[session] routes", configuration.session.routes
        pools = [pool for pool in (configuration.addresses.ipv4, configuration.addresses.ipv6) if pool is not None]
    else:
        key, routes, pools = "routes", configuration.routes, []
    for index, route in enumerate(routes):
        where = f"{configuration.where}: {key}: {route}"
        if route in routes[:index]:
            yield Finding("warning", f"{where} is named twice; remove one")
        if isinstance(configuration, ServerConfig) and configuration.addresses.allocator == PoolAllocator.NAME:
            yield from _check_pushed(where, route, pools)


def _check_pushed(where: str, route: Network, pools: list[Network]) -> Iterator[Finding]:
    if not any(pool.version == route.version for pool in pools):
        yield Finding(
            "error",
            f"{where} is IPv{route.version}, but [addresses] has no ipv{route.version} pool, so it is useless; "
            f"set [addresses] ipv{route.version} or remove the route",
        )
    for pool in pools:
        if pool == route:
            yield Finding("warning", f"{where} is the pool itself, which clients reach anyway; remove it")
        elif pool.version == route.version and route.prefixlen > pool.prefixlen and _within(route, pool):
            yield Finding(
                "error",
                f"{where} lies inside the pool {pool}, whose addresses are clients'; remove it or move the pool",
            )


def _within(route: Network, pool: Network) -> bool:
    return route.network_address in pool


def _error(server: ServerConfig, text: str) -> Finding:
    return Finding("error", f"{server.where}: [addresses] {text}")
