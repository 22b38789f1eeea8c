"""What is built in passes the suites that plugins must pass."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from vpnrs_core.builtin.memory import MemoryStore
from vpnrs_core.builtin.offload import OffloadCodec
from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.builtin.pool import PoolAllocator
from vpnrs_core.builtin.segments import SegmentsCodec
from vpnrs_core.builtin.single import SingleLinkScheduler
from vpnrs_core.builtin.vpnrs1 import VpnrsProtocol
from vpnrs_core.interfaces import Transport
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.identity import make_certificate, pin_of
from vpnrs_core.quic.settings import QuicConfig, ServerIdentity
from vpnrs_core.quic.transport import QuicTransport
from vpnrs_core.testkit.clock import Clock
from vpnrs_core.testkit.suites import (
    AllocatorSuite,
    CodecSuite,
    ProtocolSuite,
    SchedulerSuite,
    StoreSuite,
    TransportSuite,
)


class TestPlain(CodecSuite):
    @pytest.fixture
    def subject(self) -> Any:
        return PlainCodec()


class TestSegments(CodecSuite):
    @pytest.fixture
    def subject(self) -> Any:
        return SegmentsCodec()


class TestOffload(CodecSuite):
    @pytest.fixture
    def subject(self) -> Any:
        return OffloadCodec()


class TestMemory(StoreSuite):
    @pytest.fixture
    def subject(self, clock: Clock) -> Any:
        return MemoryStore(clock)


class TestPool(AllocatorSuite):
    @pytest.fixture(params=[("10.0.0.0/28", "fd00::/64"), ("10.0.0.0/28",), ("fd00::/124",)], ids=["both", "v4", "v6"])
    def subject(self, request: pytest.FixtureRequest, clock: Clock) -> Any:
        return PoolAllocator([ip_network(pool) for pool in request.param], now=clock)


class TestSingle(SchedulerSuite):
    @pytest.fixture
    def subject(self) -> Any:
        return SingleLinkScheduler()


class TestVpnrs1(ProtocolSuite):
    @pytest.fixture
    def subject(self) -> Any:
        return VpnrsProtocol()


class TestQuic(TransportSuite):
    @pytest.fixture
    def sides(self, tmp_path: Path) -> tuple[Transport, Transport]:
        pair = make_certificate("127.0.0.1")
        (tmp_path / "c.pem").write_bytes(pair.certificate)
        (tmp_path / "k.pem").write_bytes(pair.key)
        engines = {"aioquic": AioquicEngine()}
        server = QuicTransport(QuicConfig(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem"), engines)
        client = QuicTransport(QuicConfig(), engines, ServerIdentity(server_pin=pin_of(pair.certificate)))
        return server, client
