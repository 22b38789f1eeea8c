"""Field types of the configuration: addresses, networks, listen addresses, and the words said when they are wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal

import pydantic

from vpnrs_core.errors import ConfigError, HostError
from vpnrs_core.host.names import valid_tun_name
from vpnrs_core.host.rundir import valid_instance
from vpnrs_core.interfaces.common import Address, Network

_HOSTNAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?"
)


class Table(pydantic.BaseModel):
    """Base of every table: unknown keys are errors, and what was loaded does not change."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)


def split_host_port(text: str) -> tuple[str, int]:
    """`host:port` or `[ipv6]:port` → (host, port). Raises ValueError that says what is expected."""
    expected = (
        f"{text!r} is not HOST:PORT; write for example 192.0.2.1:4433, vpn.example.org:4433 or [2001:db8::1]:4433"
    )
    host, separator, port = text.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(expected)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            if ip_address(host).version == 6:
                return host, int(port)
        except ValueError:
            pass
        raise ValueError(expected)
    if ":" in host or not _HOSTNAME.fullmatch(host):
        raise ValueError(expected)
    return host, int(port)


def _listen(text: str) -> str:
    host, _ = split_host_port(text)
    try:
        ip_address(host)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an address of this host; write for example 0.0.0.0:4433 or [::]:4433"
        ) from None
    return text


def _dial(text: str) -> str:
    if split_host_port(text)[1] == 0:
        raise ValueError(f"{text!r} has port 0; name the port that the server listens on")
    return text


def _domain(text: str) -> str:
    """Without the dots around it, in small letters."""
    name = text.strip(".").lower()
    if not name or not _HOSTNAME.fullmatch(name):
        raise ValueError(f"{text!r} is not a domain; write for example corp.example.org")
    return name


def _instance(text: str) -> str:
    try:
        return valid_instance(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def parse_network(value: Any) -> Network:
    """A CIDR prefix with no bits set behind the prefix length. Raises ValueError that names the right prefix."""
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    if not isinstance(value, str) or "/" not in value:
        raise ValueError(f"{value!r} is not a prefix; write for example 10.77.0.0/24 or fd77::/64")
    if "%" in value:
        raise ValueError(f"{value!r} has a zone (%), which no prefix in a tunnel has; write {_without_zone(value)}")
    try:
        return ip_network(value)
    except ValueError:
        pass
    try:
        meant = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is not a prefix; write for example 10.77.0.0/24 or fd77::/64") from None
    raise ValueError(f"{value!r} has bits set behind the prefix length; write {meant}")


def _mtu(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 576 <= value <= 65_000):
        return value
    raise ValueError(f'{value!r} is neither "auto" nor a number of bytes from 576 to 65000')


def _tun_name(text: str) -> str:
    try:
        return valid_tun_name(text)
    except HostError as error:
        raise ValueError(str(error)) from None


def _without_zone(text: str) -> str:
    return re.sub("%[^/]*", "", text)


def _wanted(value: Any) -> Network:
    """An address (a host prefix) or a prefix."""
    if isinstance(value, str) and "/" not in value and "%" not in value:
        try:
            return ip_network(value)
        except ValueError:
            pass
    return parse_network(value)


def _address(value: Any) -> Any:
    if isinstance(value, str):
        if "%" in value:
            raise ValueError(
                f"{value!r} has a zone (%), which no address in a tunnel has; write {_without_zone(value)}"
            )
        try:
            return ip_address(value)
        except ValueError:
            raise ValueError(f"{value!r} is not an IP address") from None
    return value


def _pool(version: int) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        # TOML has no null: "none" lets --set and a derived configuration turn a family off.
        if value is None or value == "none":
            return None
        network = parse_network(value)
        if network.version != version:
            raise ValueError(f"{network} is IPv{network.version}; move it to ipv{network.version}")
        return network

    return parse


def _host(version: int) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        address = _address(value)
        if address is not None and getattr(address, "version", version) != version:
            raise ValueError(f"{address} is IPv{address.version}; move it to server_ipv{address.version}")
        return address

    return parse


Listen = Annotated[str, pydantic.AfterValidator(_listen)]
Dial = Annotated[str, pydantic.AfterValidator(_dial)]
Mtu = Annotated[Literal["auto"] | int, pydantic.BeforeValidator(_mtu)]
TunName = Annotated[str, pydantic.AfterValidator(_tun_name)]
Domain = Annotated[str, pydantic.AfterValidator(_domain)]
InstanceName = Annotated[str, pydantic.AfterValidator(_instance)]
AnyNetwork = Annotated[Network, pydantic.BeforeValidator(parse_network)]
WantedNetwork = Annotated[Network, pydantic.BeforeValidator(_wanted)]
AnyAddress = Annotated[Address, pydantic.BeforeValidator(_address)]
PoolV4 = pydantic.BeforeValidator(_pool(4))
PoolV6 = pydantic.BeforeValidator(_pool(6))
HostV4 = pydantic.BeforeValidator(_host(4))
HostV6 = pydantic.BeforeValidator(_host(6))
