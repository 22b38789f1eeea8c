"""The whole configuration: one model a role, under one name."""

from __future__ import annotations

from vpnrs_core.config.client import ClientAuthConfig, ClientConfig, ReconnectConfig
from vpnrs_core.config.server import (
    AddressesConfig,
    ForwardingConfig,
    ServerAuthConfig,
    ServerConfig,
    SessionConfig,
)
from vpnrs_core.config.tables import InstanceConfig, LogConfig, TunConfig

Configuration = ServerConfig | ClientConfig

__all__ = [
    "AddressesConfig",
    "ClientAuthConfig",
    "ClientConfig",
    "Configuration",
    "ForwardingConfig",
    "InstanceConfig",
    "LogConfig",
    "ReconnectConfig",
    "ServerAuthConfig",
    "ServerConfig",
    "SessionConfig",
    "TunConfig",
]
