"""What a plugin needs of the host, and what it finds wrong with a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vpnrs_core.interfaces.common import Address, Network


@dataclass(frozen=True)
class HostNeeds:
    """Applied through the journal and undone with it. `to_tun`: routes into the TUN; `reserve`: addresses never
    leased (server); `masquerade`: prefixes whose traffic leaves the host with the host's own address (nftables);
    `forwarding`: IP forwarding on."""

    to_tun: Sequence[Network] = ()
    reserve: Sequence[Address] = ()
    masquerade: Sequence[Network] = ()
    forwarding: bool = False


@dataclass(frozen=True)
class Finding:
    """Errors refuse the start, warnings are printed. The text says what, where and what to do."""

    level: Literal["error", "warning"]
    text: str


@dataclass(frozen=True)
class Expected:
    """What a running instance wants to know of its host. `own`: addresses that the TUN must have, with their prefix
    lengths; `inside`: addresses that the kernel must send into the TUN; `outside`: those that it must not; `echo`: who
    should answer a ping through the tunnel; `dns`: resolvers that should answer; `forwards`: IP versions that this host
    must forward."""

    own: Sequence[tuple[Address, int]] = ()
    inside: Sequence[Address] = ()
    outside: Sequence[Address] = ()
    echo: Sequence[Address] = ()
    dns: Sequence[Address] = ()
    forwards: frozenset[int] = frozenset()


@dataclass(frozen=True)
class LiveFacts:
    """What was found. `mtu` is the TUN's in bytes, 0: there is none. `ways`: the interface that packets to an address
    leave by, "": there is no route. `echoes` and `resolvers`: seconds until the answer, None: there was none, or why it
    could not be tried."""

    up: bool = False
    mtu: int = 0
    addresses: frozenset[Address] = frozenset()
    ways: Mapping[Address, str] = field(default_factory=dict)
    forwarding: Mapping[int, bool] = field(default_factory=dict)
    echoes: Mapping[Address, float | str | None] = field(default_factory=dict)
    resolvers: Mapping[Address, float | str | None] = field(default_factory=dict)
