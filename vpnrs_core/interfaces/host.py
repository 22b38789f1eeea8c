"""What a plugin needs of the host, and what it finds wrong with a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
