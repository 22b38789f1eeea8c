"""The class that an entry point of group `vpnrs` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import pydantic

from vpnrs_core.events import Event
from vpnrs_core.interfaces.context import Context

Files = Mapping[str, str]


@dataclass(frozen=True)
class Provision:
    """What `vpnrs init` writes for one new client: files by name (mode 0600) and the plugin's table of each side.
    `method` is the authenticator's NAME."""

    method: str
    server_files: Files = field(default_factory=dict)
    client_files: Files = field(default_factory=dict)
    server_table: Mapping[str, Any] = field(default_factory=dict)
    client_table: Mapping[str, Any] = field(default_factory=dict)


class VpnrsPlugin(Protocol):
    """One object is made per instance, `Plugin(config, ctx)`; its methods marked with `impl` are the hooks.

    Optional class attributes: `Config` (a pydantic model, default: no keys), `DROP_REASONS` (names without the
    plugin's prefix, or those names with the line of help that metrics show), `EVENTS` (event types it emits), and the
    class method `provision(name: str) -> Provision`, which makes `vpnrs init --auth <plugin>` work."""

    Config: ClassVar[type[pydantic.BaseModel]]
    DROP_REASONS: ClassVar[Sequence[str] | Mapping[str, str]]
    EVENTS: ClassVar[Sequence[type[Event]]]

    def __init__(self, config: Any, ctx: Context) -> None: ...
