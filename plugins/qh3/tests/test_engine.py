"""The qh3 adapter with itself and with aioquic, in memory, on the test's clock."""

import random

import pytest
from aioquic.tls import Epoch
from vpnrs_qh3 import keys
from vpnrs_qh3.engine import Qh3Engine

from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.testkit.engine_suite import EngineSuite
from vpnrs_core.testkit.wire import Wire

ENGINES = {"qh3": Qh3Engine, "aioquic": AioquicEngine, "public": lambda: Qh3Engine(direct=False)}


class TestQh3(EngineSuite):
    @pytest.fixture(params=["qh3-qh3", "qh3-aioquic", "aioquic-qh3"])
    def engines(self, request):
        client, server = (ENGINES[side]() for side in request.param.split("-"))
        return client, server


class TestPublicCalls(EngineSuite):
    """Without the native core's names: the same promises, but for the last bytes of a packet and a shrunken path."""

    test_the_largest_datagram_fits_and_nothing_outgrows_the_payload = None
    test_a_shrunken_path_carries_streams_and_datagrams = None

    @pytest.fixture(params=["public-public", "public-aioquic", "aioquic-public"])
    def engines(self, request):
        client, server = (ENGINES[side]() for side in request.param.split("-"))
        return client, server


@pytest.fixture
def joined():
    return Wire(Qh3Engine(), Qh3Engine()).established()


def losing(flights):
    """A wire that has lost so many of the client's first flights."""
    wire = Wire(Qh3Engine(), Qh3Engine(), payload=1472)
    for _ in range(flights):
        wire.leave(wire.client)
        wire.in_flight.clear()
        wire.now = wire.client.engine.timer() + 1e-6
        wire.client.engine.handle_timer(wire.now)
    return wire


def test_a_lost_first_flight_does_not_keep_packets_small():
    """qh3 itself would stay at 1,200 bytes for as long as the connection lasts."""
    wire = losing(1).established()
    assert wire.client.engine.largest_payload == 1472
    assert wire.client.sent[:2] == wire.client.sent[2:4]  # the same bytes once more


def test_a_first_flight_that_is_lost_twice_becomes_smaller():
    """The path may be narrow."""
    wire = losing(2).established()
    engine = wire.client.engine
    assert (engine.payload, engine.largest_payload) == (1200, 1200)
    datagram = bytes(engine.max_datagram())
    assert wire.send(wire.client, [datagram]) == 1
    wire.run(0.1)
    assert wire.server.datagrams == [datagram]


def flood(joined, seconds, most=40):
    """As many datagrams as are taken, a turn a millisecond."""
    end = joined.now + seconds
    while joined.now < end:
        joined.send(joined.client, [bytes(1200)] * most)
        joined.step(joined.now + 0.001)


def test_datagrams_obey_no_window_of_qh3(joined):
    """What our own brakes stand on: if an upgrade gates datagrams, `room` must be made of what the gate leaves."""
    core = joined.client.engine._core
    for _ in range(200):
        core.send_datagram(bytes(1200))
    joined.leave(joined.client)
    assert core.bytes_in_flight > 200 * 1200 > core.congestion_window


def test_one_too_large_datagram_would_block_qh3_for_ever(joined):
    """Why `send` drops it before."""
    core = joined.client.engine._core
    core.send_datagram(bytes(2000))
    for _ in range(3):
        with pytest.raises(RuntimeError, match="capacity exhausted"):
            core.poll_transmit(joined.now)


def test_a_core_that_stays_stuck_is_given_up(joined):
    engine = joined.client.engine
    engine._core.send_datagram(bytes(2000))
    assert engine.transmit(joined.now) == []
    with pytest.raises(RuntimeError, match="capacity exhausted"):
        engine.transmit(joined.now + 6)


def test_a_black_hole_never_makes_packet_numbers_ambiguous(joined):
    joined.loss = 1.0
    begin = len(joined.client.sent)
    for _ in range(400):
        joined.send(joined.client, [bytes(1200)] * 200)
        joined.leave(joined.client)
        joined.now += 0.001
    assert 20_000 < len(joined.client.sent) - begin < 32_000
    joined.loss = 0.0
    joined.run(3.0)
    joined.send(joined.client, [b"after"])
    joined.run(0.5)
    assert joined.server.datagrams[-1] == b"after"


def test_lost_stream_data_is_sent_again_under_a_flood(joined):
    stream = joined.client.engine.open_stream()
    joined.rate, joined.buffer = 1_250_000, 60_000
    flood(joined, 1.0)
    content = random.Random(5).randbytes(9_000)
    joined.client.engine.write_stream(stream, content)
    while joined.client.engine.unsent(stream):
        joined.in_flight = [p for p in joined.in_flight if p[3] != joined.server.address]  # all of it is lost
        joined.step()
    joined.in_flight.clear()
    asked = joined.now
    while len(joined.server.stream(stream)) < len(content):
        assert joined.now - asked < 1.0
        flood(joined, 0.005)


def test_close_reasons_and_qh3s_own_errors_are_told_apart(joined):
    joined.server.engine._connection.close(error_code=0xA, frame_type=0x1C, reason_phrase="broken")
    joined.run(0.1)
    assert joined.client.closed.reason == "QUIC error 0xa: broken"


@pytest.mark.parametrize("limit", [600, 1250])
def test_a_peer_that_takes_smaller_datagrams_only_is_not_probed_beyond_them(limit):
    """qh3 raises for a larger one, and with it went the packets that were built already."""

    class Small(Qh3Engine):
        def _configuration(self, settings):
            configuration = super()._configuration(settings)
            configuration.max_datagram_frame_size = limit
            return configuration

    wire = Wire(Qh3Engine(), Small(), payload=1472, start_udp_payload=1324).established()
    engine = wire.client.engine
    assert engine.max_datagram() < limit
    assert engine.largest_payload == max(1200, limit - 5 + 32)
    stream = engine.open_stream()
    engine.write_stream(stream, b"control")
    for size in (1200, 1324, 1472):
        engine.probe(b"probe", size)
    wire.run(0.2)
    assert wire.server.stream(stream) == b"control"
    assert [datagram.rstrip(b"\0") for datagram in wire.server.datagrams] == [b"probe"] * 3


def test_a_peer_that_speaks_broken_tls_is_told_so():
    """qh3 raises an error that is none of its own; the peer would hear nothing, and the log be of a broken engine."""
    wire = Wire(Qh3Engine(), AioquicEngine()).established()
    server = wire.server.engine._connection
    server._crypto_streams[Epoch.ONE_RTT].sender.write(b"\x04\0\0\x05short")  # NewSessionTicket
    server.send_ping(1)
    wire.run(0.2)
    for side in (wire.client, wire.server):
        assert "QUIC error 0x132" in side.closed.reason


@pytest.mark.parametrize("pair", ["qh3-qh3", "qh3-aioquic", "aioquic-qh3", "public-aioquic"])
def test_keys_are_updated_and_nothing_is_lost_by_it(monkeypatch, pair):
    """qh3 would go on with one key for ever, beyond what the cipher allows."""
    monkeypatch.setattr(keys, "_PACKETS_A_KEY", 300)
    monkeypatch.setattr(keys, "_ASK_AGAIN", 10)
    wire = Wire(*(ENGINES[side]() for side in pair.split("-"))).established()
    sides = (wire.client, wire.server)
    sent, phases = 0, set()
    while sent < 2000:
        for side in sides:
            while not wire.send(side, [sent.to_bytes(2, "big")]):
                wire.step(wire.now + 0.001)
        sent += 1
        wire.step(wire.now + 0.001)
        cores = [
            side.engine._connection._core
            for side, name in zip(sides, pair.split("-"), strict=True)
            if name != "aioquic"
        ]
        phases |= {(core.send_key_phase, core.receive_key_phase) for core in cores}
    wire.run(0.5)
    for side in sides:
        assert side.datagrams == [number.to_bytes(2, "big") for number in range(2000)]
        assert side.closed is None
    assert {(0, 0), (1, 1)} <= phases
