"""The contract of QUIC engines: real QUIC between two connections in memory, against itself and against aioquic."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.testkit import engine_suite
from vpnrs_core.testkit.suites.base import Suite, is_named


class EngineSuite(engine_suite.EngineSuite, Suite):
    """`subject` is the engine. Every promise is kept by all pairs of it with itself and the built-in one."""

    kind: ClassVar[str] = "engine"

    @pytest.fixture(params=["both", "client", "server"])
    def engines(self, subject: Any, request: pytest.FixtureRequest) -> engine_suite.Engines:
        builtin = AioquicEngine()
        return {"both": (subject, subject), "client": (subject, builtin), "server": (builtin, subject)}[request.param]

    def test_it_has_a_name_and_a_preference(self, subject: Any) -> None:
        assert is_named(subject)
        assert isinstance(subject.PREFERENCE, int)
