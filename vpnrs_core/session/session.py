"""The server's record of one session; what the core changes here, plugins see through interfaces.Session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from vpnrs_core.interfaces.common import Address, Refuse, Seconds
from vpnrs_core.interfaces.grant import Contribution, Principal
from vpnrs_core.interfaces.protocol import Granted
from vpnrs_core.interfaces.transport import Link
from vpnrs_core.session.leases import LeaseHolder
from vpnrs_core.session.resume import ResumeSecrets


class SessionState(Enum):
    """OPEN has links, PARKED has none and keeps its leases for a while, ENDED has given them back."""

    OPEN = "open"
    PARKED = "parked"
    ENDED = "ended"


class SessionRecord:
    """`expires_at` is monotonic seconds (None: never), `granted.expires` the same moment in POSIX seconds. `secrets`
    None: the session cannot be resumed, so it ends with its last link."""

    def __init__(
        self,
        id: str,
        principal: Principal,
        holder: LeaseHolder,
        granted: Granted,
        *,
        on_end: Callable[[SessionRecord, Refuse], None],
        on_change: Callable[[SessionRecord, Contribution], None],
        secrets: ResumeSecrets | None = None,
        expires_at: Seconds | None = None,
        facts: Mapping[str, Any] | None = None,
        counters: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.state = SessionState.OPEN
        self.holder = holder
        self.granted = granted
        self.secrets = secrets
        self.expires_at = expires_at
        self.parked_at: Seconds | None = None
        self.attached: list[Link] = []
        self._id = id
        self._principal = principal
        self._facts: Mapping[str, Any] = dict(facts or {})
        self._counters = counters
        self._on_end = on_end
        self._on_change = on_change

    def __repr__(self) -> str:
        return f"<session {self._id} of {self._principal.name!r}, {self.state.value}, {len(self.attached)} links>"

    @property
    def id(self) -> str:
        return self._id

    @property
    def principal(self) -> Principal:
        return self._principal

    @property
    def leases(self) -> Sequence[Address]:
        return self.holder.addresses

    @property
    def mtu(self) -> int:
        return self.granted.mtu

    @property
    def links(self) -> Sequence[Link]:
        return tuple(self.attached)

    @property
    def facts(self) -> Mapping[str, Any]:
        return self._facts

    @facts.setter
    def facts(self, facts: Mapping[str, Any]) -> None:
        self._facts = dict(facts)

    @property
    def counters(self) -> Mapping[str, int]:
        return dict(self._counters())

    def end(self, refuse: Refuse) -> None:
        """Asks the core to end the session after the current turn."""
        self._on_end(self, refuse)

    def change(self, contribution: Contribution) -> None:
        """Asks the core to merge into the grant after the current turn."""
        self._on_change(self, contribution)
