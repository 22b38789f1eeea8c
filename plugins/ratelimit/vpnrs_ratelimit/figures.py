"""What is counted, once: for metrics through the core's registry, and for `vpnrs ratelimit status`."""

from __future__ import annotations

import pydantic
from pydantic import Field

from vpnrs_core.interfaces import Context
from vpnrs_ratelimit.tracker import Forgotten


class FigureValues(pydantic.BaseModel):
    """Since the start of this gateway."""

    failed_attempts: int = Field(0, description="Attempts that failed to authenticate.")
    refused_attempts: int = Field(0, description="Attempts that met a block; with observe_only they went on.")
    blocks_begun: int = Field(0, description="Blocks that this gateway began.")
    evictions: int = Field(0, description="Entries forgotten because a tier was full, none of them expired.")
    expired: int = Field(0, description="Expired entries forgotten because a tier was full.")
    resumes_let_past: int = Field(0, description="Proven resumes that a block by source or of all did not stop.")
    store_failures: int = Field(0, description="Attempts for which the store could not be asked.")


class Figures:
    """Each figure is a counter of the registry with labels, and a sum here."""

    def __init__(self, ctx: Context) -> None:
        self.values = FigureValues()
        self._failed = ctx.counter("failed_attempts", "Attempts that failed to authenticate.", ["method"])
        self._refused = ctx.counter("refused_attempts", "Attempts that met a block.", ["tier"])
        self._begun = ctx.counter("blocks_begun", "Blocks that began.", ["tier"])
        self._evicted = ctx.counter("evictions", "Entries forgotten because a tier was full.", ["why"])
        self._let_past = ctx.counter("resumes_let_past", "Proven resumes that a block did not stop.", ["tier"])
        self._store_failures = ctx.counter("store_failures", "Attempts for which the store could not be asked.")
        self._active = ctx.gauge("active_blocks", "Blocks there are, of all servers that share the store.", ["tier"])

    def active(self, tier: str, blocks: int) -> None:
        self._active.set(blocks, tier)

    def failed(self, method: str) -> None:
        self.values.failed_attempts += 1
        self._failed.add(1, method)

    def refused(self, tier: str) -> None:
        self.values.refused_attempts += 1
        self._refused.add(1, tier)

    def began(self, tier: str) -> None:
        self.values.blocks_begun += 1
        self._begun.add(1, tier)

    def forgotten(self, forgotten: Forgotten) -> None:
        self.values.expired += forgotten.expired
        self._evicted.add(forgotten.expired, "expired")
        if forgotten.evicted is not None:
            self.values.evictions += 1
            self._evicted.add(1, "least_recent")

    def resume_let_past(self, tier: str) -> None:
        self.values.resumes_let_past += 1
        self._let_past.add(1, tier)

    def store_failed(self) -> None:
        self.values.store_failures += 1
        self._store_failures.add()
