"""Checks across fields and of the files that a configuration names: all that needs no look at the host's network."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from vpnrs_core.config.check_addresses import check_addresses, check_routes
from vpnrs_core.config.check_host import check_host_settings
from vpnrs_core.config.fields import split_host_port
from vpnrs_core.config.models import ClientConfig, Configuration, ServerConfig
from vpnrs_core.config.tables import DATAGRAM_OVERHEAD
from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces.host import Finding
from vpnrs_core.quic.identity import load_key_pair, parse_pin

# RFC 8200, section 5.
_SMALLEST_IPV6_MTU = 1280
_MAKE_PAIR = "`vpnrs init DIR` writes a certificate and a key"
_MAKE_CA = "name a PEM file of CA certificates"


def check(configuration: Configuration) -> list[Finding]:
    """Everything wrong that can be known from the configuration and its files. Errors refuse the start."""
    findings = [*_check_mtu(configuration)]
    if isinstance(configuration, ServerConfig):
        findings += check_addresses(configuration)
        findings += _check_identity(configuration)
        findings += _check_forwarding(configuration)
    else:
        findings += _check_client(configuration)
    findings += check_routes(configuration)
    findings += check_host_settings(configuration)
    findings += _check_secrets(configuration)
    return findings


def require(configuration: Configuration) -> list[Finding]:
    """Raise ConfigError with one line an error, or return the warnings."""
    findings = check(configuration)
    errors = [finding.text for finding in findings if finding.level == "error"]
    if errors:
        raise ConfigError("\n".join(errors))
    return findings


def _check_mtu(configuration: Configuration) -> Iterator[Finding]:
    mtu, payload = configuration.tun.first_mtu, configuration.quic.max_udp_payload
    if isinstance(configuration, ServerConfig):
        has_ipv6 = configuration.addresses.ipv6 is not None
    else:
        has_ipv6 = any(network.version == 6 for network in (*configuration.routes, *configuration.wanted))
    if has_ipv6 and mtu < _SMALLEST_IPV6_MTU:
        yield _error(configuration, f"[tun] mtu {mtu} is too small for IPv6, which needs 1280; raise it or remove IPv6")
    if configuration.transport != "quic" or (
        isinstance(configuration, ClientConfig) and configuration.lane == "stream"
    ):
        return
    if mtu + DATAGRAM_OVERHEAD > payload:
        yield _error(
            configuration,
            f"[tun] mtu {mtu} needs datagrams of {mtu + DATAGRAM_OVERHEAD} bytes, [quic] max_udp_payload is {payload}; "
            f"set mtu to at most {payload - DATAGRAM_OVERHEAD} or raise max_udp_payload",
        )


def _check_identity(configuration: ServerConfig) -> Iterator[Finding]:
    if configuration.transport != "quic":
        return
    failed = False
    for key in ("certificate", "key"):
        named = getattr(configuration.quic, key)
        if not named:
            yield _error(configuration, f"[quic] {key} is missing; {_MAKE_PAIR}")
            failed = True
            continue
        for finding in _check_file(
            configuration, f"[quic] {key}", configuration.path(str(named)), _MAKE_PAIR, private=key == "key"
        ):
            failed = failed or finding.level == "error"
            yield finding
    if not failed:
        quic = configuration.quic
        try:
            load_key_pair(configuration.path(str(quic.certificate)), configuration.path(str(quic.key)))
        except ConfigError as error:
            yield _error(configuration, str(error))


def _check_secrets(configuration: Configuration) -> Iterator[Finding]:
    """Files that plugins' tables name as secrets, { file = "…" }. Whether they can be used, the plugin says."""
    for plugin, table in configuration.plugins.items():
        for key, value in table.items():
            if not isinstance(value, Mapping) or set(value) != {"file"}:
                continue
            path = configuration.path(str(value["file"]))
            try:
                mode = stat.S_IMODE(path.stat().st_mode)
            except OSError:
                continue
            if mode & 0o004:
                text = f"[plugins.{plugin}] {key} {path} is readable by everyone (mode {mode:04o}); chmod 600 {path}"
                yield _warning(configuration, text)


def _check_forwarding(configuration: ServerConfig) -> Iterator[Finding]:
    if not configuration.session.isolation and not configuration.forwarding.enable:
        yield _warning(
            configuration,
            "[session] isolation is off, but packets from client to client go through this host's kernel, which passes "
            "them on only while it forwards; set [forwarding] enable = true, unless the host forwards anyway",
        )


def _check_client(configuration: ClientConfig) -> Iterator[Finding]:
    if configuration.server_pin is not None:
        try:
            parse_pin(configuration.server_pin)
        except ConfigError as error:
            yield _error(configuration, str(error))
    if configuration.ca not in (None, "system"):
        yield from _check_file(configuration, "ca", configuration.path(str(configuration.ca)), _MAKE_CA, private=False)
    if configuration.ca is not None and configuration.server_name is None:
        host, _ = split_host_port(configuration.server)
        yield _warning(
            configuration,
            f"server_name is not set, so the certificate must bear {host}; set it if it bears another name",
        )


def _check_file(configuration: Configuration, key: str, path: Path, remedy: str, *, private: bool) -> Iterator[Finding]:
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            if b"-----BEGIN " not in stream.read(65_536):
                yield _error(configuration, f"{key} {path} is not PEM; {remedy}")
    except FileNotFoundError:
        yield _error(configuration, f"{key} {path} does not exist; {remedy}")
        return
    except OSError as error:
        yield _error(configuration, f"{key} {path} cannot be read: {error.strerror}")
        return
    if private and mode & 0o004:
        yield _warning(configuration, f"{key} {path} is readable by everyone (mode {mode:04o}); chmod 600 {path}")


def _finding(level: str) -> Callable[[Configuration, str], Finding]:
    def make(configuration: Configuration, text: str) -> Finding:
        return Finding("error" if level == "error" else "warning", f"{configuration.where}: {text}")

    return make


_error = _finding("error")
_warning = _finding("warning")
