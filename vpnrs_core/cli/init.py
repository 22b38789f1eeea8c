"""`vpnrs init`: writes a server's and a client's configuration that connect as they are."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from vpnrs_core.cli.pair import Choices, Pair, make_pair, random_ula
from vpnrs_core.config.fields import parse_network, split_host_port
from vpnrs_core.config.write import write_new
from vpnrs_core.errors import ConfigError

T = TypeVar("T")


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option(
    "--listen", default="0.0.0.0:4433", show_default=True, metavar="ADDR:PORT", help="Where the server listens."
)
@click.option("--server", metavar="ADDR:PORT", help="What the client dials; default: the listen address, or loopback.")
@click.option("--ipv4", default="10.77.0.0/24", show_default=True, metavar="CIDR", help="IPv4 pool, or none.")
@click.option("--ipv6", metavar="CIDR", help="IPv6 pool, or none; default: a random unique local /64 (RFC 4193).")
@click.option(
    "--auth", default="auth_token", show_default=True, metavar="PLUGIN", help="Plugin that lets the client in."
)
@click.option("--name", default="client", show_default=True, help="Name of the client.")
@click.option("--instance", metavar="NAME", help="Instance names: NAME and NAME-client; default: server and client.")
def init(
    directory: str,
    listen: str,
    server: str | None,
    ipv4: str,
    ipv6: str | None,
    auth: str,
    name: str,
    instance: str | None,
) -> None:
    """Write into DIR a server's and a client's configuration, a certificate, its key and a credential.

    Nothing is overwritten. The client's half is client.toml and the files that the output names; move it to the
    client over a channel that you trust."""
    folder = _valued("DIR", _folder, directory)
    _valued("--listen", split_host_port, listen)
    if server is not None:
        _valued("--server", split_host_port, server)
    choices = Choices(
        listen=listen,
        server=server or default_server(listen),
        ipv4=_pool("--ipv4", ipv4),
        ipv6=random_ula() if ipv6 is None else _pool("--ipv6", ipv6),
        auth=auth,
        name=name,
        server_instance=instance or "server",
        client_instance=f"{instance}-client" if instance else "client",
    )
    pair = make_pair(folder, choices)
    _write(folder, pair)
    click.echo(f"wrote {', '.join(pair.files)} into {folder}")
    click.echo(f"the client needs {', '.join(pair.client_files)}; the server's key is known to it as {pair.pin}")
    click.echo("next, as root:")
    for config in ("server.toml", "client.toml"):
        click.echo(f"  vpnrs run {shlex.quote(str(folder / config))}")


def default_server(listen: str) -> str:
    """What a client on the same host dials: the listen address, or loopback for a wildcard."""
    host, port = split_host_port(listen)
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    host = loopback.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _folder(text: str) -> Path:
    if not text:
        raise ValueError("is empty; write . for this folder")
    return Path(text)


def _pool(option: str, text: str) -> str | None:
    if text == "none":
        return None
    network = _valued(option, parse_network, text)
    if network.version != int(option[-1]):
        raise ConfigError(f"{option}: {network} is IPv{network.version}; name it with --ipv{network.version}")
    return str(network)


def _valued(option: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None


def _write(directory: Path, pair: Pair) -> None:
    """All files or none."""
    try:
        present = [name for name in pair.files if (directory / name).exists()]
    except OSError as error:  # a folder that may not be looked into, a name that is too long
        raise ConfigError(f"{directory}: cannot be looked into: {error.strerror}; choose another folder") from None
    if present:
        raise ConfigError(
            f"{directory}: holds {', '.join(present)} already, and nothing is overwritten; choose another folder"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory}: the folder cannot be made: {error.strerror}") from None
    written: list[Path] = []
    try:
        for name, (content, private) in pair.files.items():
            write_new(directory / name, content, private=private)
            written.append(directory / name)
    except ConfigError:
        for path in written:
            path.unlink(missing_ok=True)
        raise
