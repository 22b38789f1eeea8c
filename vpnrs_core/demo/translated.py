"""The demo's second tunnel: a server that gives out IPv6 only, its client, and NAT64 to a host that has IPv4 only.

client6, fd…::2 ── server: 64:ff9b:1::/96 ⇄ 10.64.0.1 ── 203.0.113.2
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_interface
from pathlib import Path
from typing import Any, Final

from vpnrs_core.demo import page
from vpnrs_core.demo.commands import Runner
from vpnrs_core.demo.network import CLIENT6, IPV4_ONLY, IPV4_ONLY_HOST, SERVER, SERVER_UNDERLAY6, Network
from vpnrs_core.demo.report import DemoReport, Nat64Page
from vpnrs_core.errors import PeerError
from vpnrs_core.plugins.discover import discover

PLUGIN: Final = "nat64"
# The local-use prefix (RFC 8215): behind the well-known one the host's address, of a documentation prefix, may not be.
_PREFIX: Final = "64:ff9b:1::"
_SOURCE: Final = "10.64.0.1"
_PORT: Final = 4434
_INSTANCE: Final = "ipv6-only"
_PAGE_BYTES: Final = 1024 * 1024

# (label of the namespace, configuration, the event that says that it runs, options…) → that event's log line.
Start = Callable[..., dict[str, Any]]


def is_installed() -> bool:
    """Whether this installation can translate."""
    return PLUGIN in discover()


class Translated:
    """`start` runs an instance in the background. What was measured goes into `report`."""

    def __init__(self, network: Network, runner: Runner, folder: Path, report: DemoReport, start: Start) -> None:
        self._network, self._runner, self._report = network, runner, report
        self._pair = folder / _INSTANCE
        self._start = start
        self._address = ""

    def steps(self) -> list[tuple[str, Callable[[], Any]]]:
        """In this order; each needs those before it."""
        return [
            ("vpnrs run: an IPv6-only server with NAT64", self._serve),
            ("vpnrs run: its IPv6-only client", self._connect),
            ("page from an IPv4-only host to it, over HTTP", self._fetch),
        ]

    def _serve(self) -> None:
        where = f"[{SERVER_UNDERLAY6}]:{_PORT}"
        names = ("--listen", where, "--server", where, "--instance", _INSTANCE, "--ipv4", "none")
        self._runner.run(self._network.names[SERVER], "init", str(self._pair), *names)
        options = [f'plugins.{PLUGIN}.prefix="{_PREFIX}/96"', f'plugins.{PLUGIN}.source_ip="{_SOURCE}"']
        options = ["-p", PLUGIN, *(word for option in options for word in ("--set", option))]
        self._start(SERVER, self._pair / "server.toml", "instance_started", *options)

    def _connect(self) -> None:
        connected = self._start(CLIENT6, self._pair / "client.toml", "connected")
        addresses = [ip_interface(text).ip for text in connected["addresses"]]
        if [address.version for address in addresses] != [6]:
            raise PeerError(f"the client has {', '.join(map(str, addresses))}, not one IPv6 address")
        self._address = str(addresses[0])

    def _fetch(self) -> None:
        names = self._network.names
        asked = str(IPv6Address(int(IPv6Address(_PREFIX)) + int(IPv4Address(IPV4_ONLY_HOST))))
        got = page.fetch(names[CLIENT6], names[IPV4_ONLY], IPV4_ONLY_HOST, asked, _PAGE_BYTES)
        if got.seen_from != _SOURCE:
            raise PeerError(f"the host saw {got.seen_from}, which is not the translator's address {_SOURCE}")
        self._report.nat64 = Nat64Page(
            url=got.url, client=self._address, seen_from=got.seen_from, bytes=got.size, ms=got.ms
        )
