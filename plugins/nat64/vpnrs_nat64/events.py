"""Events of this plugin, and who decides how often they are told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import ClassVar

from vpnrs_core.events import Event
from vpnrs_core.interfaces import Packet, Session
from vpnrs_nat64.reasons import PRIVATE
from vpnrs_nat64.state.model import Refusal

# The same limit of the same client is told again after this many seconds.
_AGAIN = 60.0
_LIMITS = frozenset(each.value for each in (Refusal.NO_PORT, Refusal.BINDING_LIMIT, Refusal.SESSION_LIMIT))


@dataclass(frozen=True, kw_only=True)
class Nat64PrivateAddress(Event):
    """A client wants a private IPv4 address through the well-known prefix, which RFC 6052 forbids. Told once a run."""

    LEVEL: ClassVar[int] = logging.WARNING

    destination: str
    remedy: str = 'set allow_private = true, or a prefix of your own such as "64:ff9b:1::/96"'


@dataclass(frozen=True, kw_only=True)
class Nat64Limit(Event):
    """A client cannot open more: `limit` is no_port, binding_limit or session_limit."""

    LEVEL: ClassVar[int] = logging.WARNING

    session: str
    principal: str
    limit: str


class Notices:
    """Turns drops that an operator should know of into events, each no oftener than helps."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._private = False
        self._limits: dict[tuple[str, str], float] = {}

    def dropped(self, packet: Packet, reason: str, now: float) -> None:
        """A client's packet was dropped for this reason of the plugin."""
        if reason == PRIVATE and not self._private:
            self._private = True
            self._emit(Nat64PrivateAddress(destination=str(IPv6Address(packet.dst))))
        elif reason in _LIMITS and packet.session is not None:
            key = (packet.session.id, reason)
            if now - self._limits.get(key, -_AGAIN) >= _AGAIN:
                self._limits[key] = now
                name = packet.session.principal.name
                self._emit(Nat64Limit(session=packet.session.id, principal=name, limit=reason))

    def forget(self, session: Session) -> None:
        for key in [key for key in self._limits if key[0] == session.id]:
            del self._limits[key]
