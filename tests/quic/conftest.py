"""The engine suite's assertions explain themselves, and `wire` joins two connections of aioquic."""

import pytest

pytest.register_assert_rewrite("vpnrs_core.testkit.engine_suite")


@pytest.fixture
def wire():
    from vpnrs_core.quic.aioquic_engine import AioquicEngine
    from vpnrs_core.testkit.wire import Wire

    def make(*, fast=(True, True), **keys):
        return Wire(AioquicEngine(fast=fast[0]), AioquicEngine(fast=fast[1]), **keys)

    return make
