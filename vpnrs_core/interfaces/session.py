"""The read-only view of a session that plugins are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from vpnrs_core.interfaces.common import Address, Refuse
from vpnrs_core.interfaces.grant import Contribution, Principal

if TYPE_CHECKING:
    from vpnrs_core.interfaces.transport import Link


class Session(Protocol):
    """A principal, its leases, its grant and 0…n links (0: parked). `mtu` is the inner MTU in bytes. `facts` are by
    plugin name. `counters` is a snapshot."""

    @property
    def id(self) -> str: ...
    @property
    def principal(self) -> Principal: ...
    @property
    def leases(self) -> Sequence[Address]: ...
    @property
    def mtu(self) -> int: ...
    @property
    def links(self) -> Sequence[Link]: ...
    @property
    def facts(self) -> Mapping[str, Any]: ...
    @property
    def counters(self) -> Mapping[str, int]: ...

    def end(self, refuse: Refuse) -> None:
        """End the session after the current turn; at a client, stop it. May be called from a stage."""

    def change(self, contribution: Contribution) -> None:
        """Merge into the grant after the current turn; a contradiction ends the session. May be called from a stage.
        Server; at a client it changes nothing and is reported."""
