"""The QUIC transport over loopback with qh3 at one end or at both."""

import pytest
from vpnrs_qh3.engine import Qh3Engine

from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.testkit.quic_suite import QuicSuite

ENGINES = {"qh3": Qh3Engine, "aioquic": AioquicEngine}


class TestQh3(QuicSuite):
    @pytest.fixture(params=["qh3-qh3", "qh3-aioquic", "aioquic-qh3"])
    def engines(self, request):
        client, server = (ENGINES[side]() for side in request.param.split("-"))
        return client, server
