"""The contract of grant contributors: something that can be merged, for every principal, in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from vpnrs_core.interfaces import Attempt, Contribution, Principal, Refuse
from vpnrs_core.session.grants import merge
from vpnrs_core.testkit.suites.base import Suite, is_named, run

ATTEMPT = Attempt("1f", "vpnrs/1", "192.0.2.9", "token", b"fingerprint-16by", False)


class GrantSuite(Suite):
    """`subject` is the contributor. `principals` may be overridden by ones whose claims it knows."""

    kind: ClassVar[str] = "grant"

    def principals(self) -> Sequence[Principal]:
        soon = time.time() + 3600
        return (
            Principal("alice"),
            Principal("bob", soon),
            Principal("Carol Ünïcode/..", None, {"groups": ["staff"], "quota": "many"}),
            Principal("x" * 255, soon, {"groups": None}),
        )

    def test_it_has_a_name(self, subject: Any) -> None:
        assert is_named(subject)

    def test_what_it_adds_can_be_merged(self, subject: Any) -> None:
        """No contradiction in itself, facts that fit, rates that a packet passes."""
        for principal in self.principals():
            answer = run(subject.contribute(ATTEMPT, principal))
            assert isinstance(answer, Contribution | Refuse), f"`contribute` returned {answer!r}"
            if isinstance(answer, Contribution):
                merged = merge(principal, [(subject.NAME, answer)], default_mtu=1280, wall=time.time())
                assert not isinstance(merged, Refuse), f"for {principal.name!r}: {merged.detail}"

    def test_a_resume_is_granted_as_a_first_attempt_is(self, subject: Any) -> None:
        principal = self.principals()[0]
        first = run(subject.contribute(ATTEMPT, principal))
        again = run(subject.contribute(Attempt("20", "vpnrs/1", "192.0.2.9", "token", None, True), principal))
        assert type(first) is type(again)

    def test_many_at_once(self, subject: Any) -> None:
        async def crowd() -> list[Any]:
            asked = (subject.contribute(ATTEMPT, Principal(f"p{number}")) for number in range(200))
            return await asyncio.gather(*asked)

        assert all(isinstance(answer, Contribution | Refuse) for answer in run(crowd()))
