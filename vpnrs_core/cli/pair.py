"""Composes a server's and a client's files that fit each other. Writes nothing."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

import vpnrs_core
from vpnrs_core.config.check_addresses import check_addresses
from vpnrs_core.config.fields import split_host_port
from vpnrs_core.config.load import from_data
from vpnrs_core.config.models import ServerConfig
from vpnrs_core.config.write import to_toml
from vpnrs_core.errors import ConfigError, PluginError, VpnrsError
from vpnrs_core.interfaces import Provision
from vpnrs_core.plugins.choice import choose
from vpnrs_core.plugins.discover import discover
from vpnrs_core.plugins.failure import Failure, describe, refuse
from vpnrs_core.plugins.load import import_plugin
from vpnrs_core.quic.identity import make_certificate, pin_of

CERTIFICATE = "server.crt"
KEY = "server.key"


@dataclass(frozen=True)
class Choices:
    """What the user chose. Pools are CIDR text, None: no pool of that family."""

    listen: str
    server: str
    ipv4: str | None
    ipv6: str | None
    auth: str
    name: str
    server_instance: str
    client_instance: str


@dataclass(frozen=True)
class Pair:
    """`files`: name → (content, private). `client_files` are those that the client needs."""

    files: Mapping[str, tuple[str | bytes, bool]]
    client_files: tuple[str, ...]
    pin: str


def random_ula() -> str:
    """A /64 of a random unique local prefix: 40 random bits behind fd, then 16 for the subnet (RFC 4193)."""
    return str(IPv6Network((b"\xfd" + secrets.token_bytes(7) + bytes(8), 64)))


def make_pair(directory: Path, choices: Choices) -> Pair:
    """Compose all files. Raises ConfigError when the choices make no valid configuration, PluginError when the
    plugin cannot provide a credential."""
    provision = _provision(choices)
    keys = make_certificate(split_host_port(choices.server)[0])
    pin = pin_of(keys.certificate)
    server, client = _server(choices, provision), _client(choices, provision, pin)
    _require_valid(directory, server, client)
    files: dict[str, tuple[str | bytes, bool]] = {
        "server.toml": (to_toml(server), False),
        CERTIFICATE: (keys.certificate, False),
        KEY: (keys.key, True),
        "client.toml": (to_toml(client), False),
    }
    for name, content in (*provision.server_files.items(), *provision.client_files.items()):
        if name in files or Path(name).name != name:
            raise PluginError(
                f"plugin {choices.auth}: provision: {name!r} is no free file name; its author must change it"
            )
        files[name] = (content, True)
    return Pair(files, ("client.toml", *provision.client_files), pin)


def _server(choices: Choices, provision: Provision) -> dict[str, Any]:
    return {
        "role": "server",
        "instance": choices.server_instance,
        "listen": choices.listen,
        "quic": {"certificate": CERTIFICATE, "key": KEY},
        "addresses": {"ipv4": choices.ipv4, "ipv6": choices.ipv6},
        "auth": {"methods": [provision.method]},
        "plugins": {choices.auth: provision.server_table},
    }


def _client(choices: Choices, provision: Provision, pin: str) -> dict[str, Any]:
    return {
        "role": "client",
        "instance": choices.client_instance,
        "server": choices.server,
        "server_pin": pin,
        "auth": {"method": provision.method},
        "plugins": {choices.auth: provision.client_table},
    }


def _require_valid(directory: Path, server: dict[str, Any], client: dict[str, Any]) -> None:
    configuration = from_data(server, directory / "server.toml")
    from_data(client, directory / "client.toml")
    assert isinstance(configuration, ServerConfig)
    errors = [finding.text for finding in check_addresses(configuration) if finding.level == "error"]
    if errors:
        raise ConfigError("\n".join(errors))


def _provision(choices: Choices) -> Provision:
    """Ask the plugin for a new client's credential."""
    choice = choose([], discover(), enable=[choices.auth], option="--auth")
    refuse(choice.failures)
    plugin, failures = import_plugin(choice.chosen[0])
    refuse(failures)
    if not hasattr(plugin, "provision"):
        raise PluginError(
            f"plugin {choices.auth}: has no credential to give (no `provision`); choose another with --auth, "
            f"this is vpnrs-core {vpnrs_core.__version__}"
        )
    try:
        provision = plugin.provision(choices.name)
    except VpnrsError:
        raise
    except ValueError as error:
        # The name is the only thing that it was given.
        raise ConfigError(f"--name {choices.name}: {error}") from None
    except Exception as error:
        refuse([Failure(choices.auth, "construction", f"provision raised {describe(error)}", error)])
        raise
    if not isinstance(provision, Provision):
        raise PluginError(f"plugin {choices.auth}: provision returned {provision!r}, not a Provision")
    return provision
