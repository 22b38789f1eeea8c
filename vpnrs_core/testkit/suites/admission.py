"""The contract of admission checks: a verdict in time for whoever comes, and no failure when it is told the outcome."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

from vpnrs_core.interfaces import Admit, Attempt, Code, Principal, Refuse
from vpnrs_core.testkit.suites.base import Suite, is_named, run

ATTEMPT = Attempt("1f", "vpnrs/1", "192.0.2.9", "token", b"fingerprint-16by", False)
# Sources and credentials as they come: IPv6, none that the method could identify, a resume.
ATTEMPTS = (
    ATTEMPT,
    replace(ATTEMPT, id="20", source="2001:db8::9", fingerprint=None),
    replace(ATTEMPT, id="21", resumed=True),
    replace(ATTEMPT, id="22", protocol="h3", method="mtls"),
    replace(ATTEMPT, id="23", source="unix"),
)


class AdmissionSuite(Suite):
    """`subject` is the check."""

    kind: ClassVar[str] = "admission"

    def test_it_has_a_name(self, subject: Any) -> None:
        assert is_named(subject)

    def test_a_verdict_comes_in_time_for_everyone(self, subject: Any) -> None:
        async def ask() -> list[Any]:
            return [await subject.before(attempt) for attempt in ATTEMPTS]

        for verdict in run(ask()):
            assert isinstance(verdict, Admit | Refuse), f"`before` returned {verdict!r}, not Admit or Refuse"
            if isinstance(verdict, Refuse):
                assert isinstance(verdict.code, Code)
                assert verdict.retry_after is None or verdict.retry_after >= 0

    def test_every_outcome_can_be_told(self, subject: Any) -> None:
        async def tell() -> None:
            for attempt in ATTEMPTS:
                await subject.before(attempt)
                for outcome in (Principal("alice"), *Code):
                    for authenticated in (True, False):
                        await subject.after(attempt, outcome, authenticated)

        run(tell())

    def test_an_outcome_may_come_without_its_question(self, subject: Any) -> None:
        """Another check may have refused before this one was asked."""
        run(subject.after(ATTEMPT, Code.BLOCKED, False))

    def test_many_at_once(self, subject: Any) -> None:
        async def crowd() -> None:
            async def one(number: int) -> None:
                attempt = replace(ATTEMPT, id=f"{number:x}", source=f"198.51.100.{number % 250}")
                await subject.before(attempt)
                await subject.after(attempt, Code.AUTH_FAILED, False)

            await asyncio.gather(*(one(number) for number in range(500)))

        run(crowd())
