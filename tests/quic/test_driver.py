"""The driver's turn: what one wake-up takes from the socket is bounded."""

import socket

import pytest

from vpnrs_core.interfaces.engine import QuicSettings
from vpnrs_core.quic import driver
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.connection import QuicConnection
from vpnrs_core.quic.driver import Driver
from vpnrs_core.quic.settings import QuicConfig
from vpnrs_core.quic.udp import UdpSocket, bind


class Reader(Driver):
    """Keeps the sizes of what it was given to route."""

    def __init__(self, sock):
        super().__init__(sock, QuicConfig())
        self.sizes = []

    def _route(self, received, now):
        self.sizes.append(len(received.data))


@pytest.mark.parametrize("burst", [1, 40], ids=["one by one", "in bursts"])
async def test_a_turn_takes_what_waits_up_to_its_bounds(burst):
    """One by one the reads are bounded, in bursts (UDP_GRO) the bytes. What is left over is the next turn's."""
    sender = UdpSocket(bind(("127.0.0.1", 0), socket.AF_INET))
    reader = Reader(UdpSocket(bind(("127.0.0.1", 0), socket.AF_INET)))
    most_reads, most_bytes = driver._READS_A_TURN, driver._BYTES_A_TURN
    sent = 2 * most_reads if burst == 1 else 2 * most_bytes // 1200
    try:
        if burst > 1 and not (sender.gso and reader._socket.gro):
            pytest.skip("this kernel has no UDP_SEGMENT or UDP_GRO")
        if reader._socket._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 4 * most_bytes:
            pytest.skip("without CAP_NET_ADMIN the socket's buffer is too small to hold more than a turn takes")
        for _ in range(sent // burst):
            assert sender.send([bytes(1200)] * burst, (reader.host, reader.port), b"") == burst
        reader._readable()
        if burst == 1:
            assert len(reader.sizes) == most_reads
        else:
            assert most_bytes <= sum(reader.sizes) < most_bytes + 65_536
        reader._readable()
        reader._readable()
        assert sum(reader.sizes) == sent // burst * burst * 1200
    finally:
        sender.close()
        reader.release()


async def test_what_the_host_refuses_is_remembered_of_the_last_peers_only(monkeypatch):
    """A server behind a narrow link runs into it with every client, each from a port of its own."""
    monkeypatch.setattr(driver, "path_payload", lambda address: 1464)
    reader = Reader(UdpSocket(bind(("127.0.0.1", 0), socket.AF_INET)))
    try:
        engine = AioquicEngine().client(QuicSettings(is_client=True, alpns=("a",), max_udp_payload=1472))
        connection = QuicConnection(engine, reader, is_client=True)
        for port in range(1, driver._MOST_LIMITS + 101):
            reader._shrink(connection, ("192.0.2.1", port))
        assert len(reader._limits) == driver._MOST_LIMITS
        assert reader.payload_limit(("192.0.2.1", driver._MOST_LIMITS + 100)) == 1464
    finally:
        reader.release()
