"""Admission checks: vetoes around authentication."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from vpnrs_core.interfaces.authenticator import Attempt
from vpnrs_core.interfaces.common import Code, Refuse
from vpnrs_core.interfaces.grant import Principal


@dataclass(frozen=True)
class Admit:
    """No objection. It overrules nobody's refusal."""


class AdmissionCheck(Protocol):
    """Server. `before` raising, or taking longer than 5 s, refuses with `internal`; `after` doing so is reported."""

    NAME: ClassVar[str]

    async def before(self, attempt: Attempt) -> Admit | Refuse:
        """Before authentication or a resume, and again when a credential first appears in a later round."""

    async def after(self, attempt: Attempt, outcome: Code | Principal, authenticated: bool) -> None:
        """Always, once an attempt: the principal that was let in or the refusal's code, and apart from that whether
        authentication had succeeded."""
