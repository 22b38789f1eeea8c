"""The core's own implementations come in through the hooks, and a configuration selects them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vpnrs_core.builtin.plugin import Builtin
from vpnrs_core.config.load import from_data
from vpnrs_core.config.models import Configuration
from vpnrs_core.errors import ConfigError
from vpnrs_core.plugins.dry_context import DryContext
from vpnrs_core.plugins.inspection import problems
from vpnrs_core.plugins.load import Plugins, load_plugins
from vpnrs_core.quic.settings import ServerIdentity

PIN = "sha256:" + "ab" * 32


def loaded(configuration: Configuration) -> Plugins:
    return load_plugins(configuration, lambda name: DryContext(name, configuration), installed={})


def names(plugins: Plugins) -> dict[str, list[str]]:
    kinds = ("transports", "quic_engines", "session_protocols", "datagram_codecs", "link_schedulers", "stores")
    return {kind: [entry.name for entry in plugins.registry.all(kind)] for kind in (*kinds, "address_allocators")}


BOTH = {
    "transports": ["quic"],
    "quic_engines": ["aioquic"],
    "session_protocols": ["vpnrs/1"],
    "datagram_codecs": ["offload", "segments", "plain", "halves"],
    "link_schedulers": ["single"],
    "stores": ["memory"],
}


def test_a_server_has_all_of_it() -> None:
    plugins = loaded(from_data({"role": "server", "addresses": {"ipv4": "10.9.0.0/24"}}))
    assert names(plugins) == {**BOTH, "address_allocators": ["pool"]}
    allocator = plugins.registry.get("address_allocators", "pool", "").object
    assert [str(address) for address, _ in allocator.server_addresses] == ["10.9.0.1"]


def test_a_client_allocates_no_addresses() -> None:
    assert names(loaded(from_data({"role": "client", "ca": "system"}))) == {**BOTH, "address_allocators": []}


def test_another_allocator_needs_no_pool() -> None:
    plugins = loaded(from_data({"role": "server", "addresses": {"allocator": "dhcp"}}))
    assert plugins.registry.all("address_allocators") == ()


def test_a_wrong_pool_is_the_users_error_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^configuration: \[addresses\]: pool 10.9.0.0/31 is too small") as caught:
        loaded(from_data({"role": "server", "addresses": {"ipv4": "10.9.0.0/31"}}))
    assert "\n" not in str(caught.value)


def transport_of(data: dict[str, Any], source: Path) -> Any:
    return loaded(from_data(data, source)).registry.get("transports", "quic", "").object


def test_the_transport_gets_absolute_files_and_the_servers_identity(tmp_path: Path) -> None:
    source = tmp_path / "vpn.toml"
    quic = {"certificate": "c.pem", "key": "/etc/k.pem"}
    server = transport_of({"role": "server", "addresses": {"ipv4": "10.9.0.0/24"}, "quic": quic}, source)
    assert (server._config.certificate, server._config.key) == (tmp_path / "c.pem", Path("/etc/k.pem"))
    client = transport_of({"role": "client", "server_pin": PIN}, source)
    assert client._identity == ServerIdentity(server_pin=PIN)
    client = transport_of({"role": "client", "ca": "ca.pem", "server_name": "vpn"}, source)
    assert client._identity == ServerIdentity(ca=str(tmp_path / "ca.pem"), server_name="vpn")


def test_the_transport_finds_the_registered_engines() -> None:
    transport = transport_of({"role": "client", "ca": "system"}, Path("vpn.toml"))
    assert transport._engine().NAME == "aioquic"


def test_it_keeps_the_rules_for_plugins() -> None:
    # The core makes its own object, and gives it the engines besides.
    assert [problem for problem in problems(Builtin) if "__init__" not in problem] == []
