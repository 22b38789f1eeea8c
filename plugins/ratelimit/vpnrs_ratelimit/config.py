"""The table `[plugins.ratelimit]`: the tiers, and what goes for all of them."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from vpnrs_core.interfaces import Network
from vpnrs_ratelimit.sources import network_of

# A block of a year is a mistake in the unit; who wants one for ever revokes the credential.
_Duration = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
# Each failure that counts is one entry of the store until it is too old.
_Most = Annotated[int, Field(ge=0, le=1000)]


class Rule(pydantic.BaseModel):
    """One tier: so many failures within a window begin a block. Seconds."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    failures: _Most = Field(0, description="So many failed attempts within the window begin a block; 0: no such tier.")
    window: _Duration = Field(300.0, description="Seconds for which a failed attempt counts.")
    block: _Duration = Field(900.0, description="Seconds that a block lasts.")

    @property
    def most(self) -> int:
        return self.failures


class CredentialRule(Rule):
    """By credential."""

    failures: _Most = Field(5, description="So many failed attempts within the window begin a block; 0: no such tier.")


class OverallRule(Rule):
    """All failures together."""

    failures: _Most = Field(
        100, description="So many failed attempts within the window begin a block; 0: no such tier."
    )
    window: _Duration = Field(60.0, description="Seconds for which a failed attempt counts.")
    block: _Duration = Field(120.0, description="Seconds that a block lasts.")


class PrincipalRule(pydantic.BaseModel):
    """The tier of those who have authenticated: so many attempts within a window begin a block. Seconds."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    attempts: _Most = Field(
        0, description="So many authenticated attempts, resumes included, within the window begin a block; 0: no tier."
    )
    window: _Duration = Field(60.0, description="Seconds for which an attempt counts.")
    block: _Duration = Field(60.0, description="Seconds that a block lasts.")

    @property
    def most(self) -> int:
        return self.attempts


class RateLimitConfig(pydantic.BaseModel):
    """Server: who is blocked after failed authentication, and for how long. A client ignores all of it."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    observe_only: bool = Field(False, description="Count and tell, but refuse nobody.")
    per_credential: CredentialRule = Field(
        CredentialRule(), description="By the fingerprint of the presented credential."
    )
    overall: OverallRule = Field(
        OverallRule(),
        description="All failures together; a proven resume is let past its block.",
    )
    per_ipv4: Rule = Field(Rule(), description="By IPv4 source address; a proven resume is let past its block.")
    per_ipv6_64: Rule = Field(Rule(), description="By the /64 of an IPv6 source, likewise.")
    per_ipv6_56: Rule = Field(Rule(), description="By the /56 of an IPv6 source, likewise.")
    per_principal: PrincipalRule = Field(
        PrincipalRule(), description="By principal: how often one may open or resume sessions."
    )
    allow: tuple[str, ...] = Field(
        (), description='Sources that are neither blocked nor counted: ["192.0.2.0/24", "2001:db8::7"].'
    )
    escalate: float = Field(
        1.0,
        ge=1,
        le=100,
        allow_inf_nan=False,
        description="Each further block of the same is so many times longer than the one before; 1: all are equal.",
    )
    escalate_memory: _Duration = Field(
        86_400.0, description="Seconds from the first block on for which further ones are longer."
    )
    longest_block: _Duration = Field(86_400.0, description="Seconds that no longer block exceeds.")
    tracked: int = Field(
        10_000,
        ge=1,
        le=100_000,
        description="Entries tracked in each tier; beyond it expired ones go first, then the least recently updated.",
    )
    when_store_fails: Literal["refuse", "admit"] = Field(
        "refuse", description="What happens to attempts while the store cannot be asked: refuse or admit."
    )

    @pydantic.field_validator("allow")
    @classmethod
    def _are_networks(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        for text in allow:
            try:
                network_of(text)
            except ValueError as error:
                raise ValueError(f"{error}; write an address or a network such as 192.0.2.0/24") from None
        return allow

    def allowed(self) -> tuple[Network, ...]:
        return tuple(network_of(text) for text in self.allow)
