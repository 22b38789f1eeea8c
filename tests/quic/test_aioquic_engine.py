"""The aioquic adapter: real QUIC between two of its connections, in memory, on the test's clock."""

import math

import pytest
from aioquic.quic.rangeset import RangeSet

from vpnrs_core.errors import PluginError
from vpnrs_core.quic import aioquic_private
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.aioquic_private import BurstPacer
from vpnrs_core.testkit.engine_suite import EngineSuite


class TestAioquic(EngineSuite):
    @pytest.fixture(params=["fast-fast", "slow-slow", "fast-slow", "slow-fast"])
    def engines(self, request):
        client, server = (AioquicEngine(fast=side == "fast") for side in request.param.split("-"))
        return client, server


@pytest.mark.parametrize("payload", [1200, 1350, 9000, 20000, 65000])
@pytest.mark.parametrize("fast", [True, False])
def test_the_largest_datagram_fills_the_packet_exactly(wire, payload, fast):
    joined = wire(fast=(fast, True), payload=payload).established()
    largest = joined.client.engine.max_datagram()
    assert joined.client.engine.send([b"d" * largest], joined.now) == 1
    joined.until(lambda: joined.server.datagrams)
    assert joined.server.datagrams == [b"d" * largest]
    assert max(map(len, joined.client.sent)) == payload


@pytest.mark.parametrize("fast", [True, False])
def test_no_more_is_taken_than_may_leave_at_once(wire, fast):
    joined = wire(fast=(fast, fast)).established()
    engine = joined.client.engine
    room, largest = engine.room(joined.now), engine.max_datagram()
    taken = engine.send([bytes(largest)] * 1000, joined.now)
    assert 0 < taken < 1000
    assert taken * largest >= room
    assert engine.room(joined.now) == 0
    assert engine.send([bytes(largest)], joined.now) == 0
    before = len(joined.client.sent)
    joined.leave(joined.client)
    assert len(joined.client.sent) - before == taken
    facts = engine.facts()
    assert facts["bytes_in_flight"] <= facts["congestion_window"]
    joined.until(lambda: engine.room(joined.now) > 0)


def test_a_lost_probe_is_no_sign_of_congestion(wire):
    joined = wire(payload=1472, start_udp_payload=1324).established()
    engine = joined.client.engine
    joined.largest = 1400
    window = engine.facts()["congestion_window"]
    for _ in range(5):
        engine.probe(b"\x80", 1472)
        engine.send([b"d" * 1200] * 5, joined.now)
        joined.run(0.3)
    assert joined.server.datagrams == [b"d" * 1200] * 25
    assert engine.facts()["congestion_window"] >= window
    assert engine.facts()["bytes_in_flight"] == 0
    assert engine.facts()["packets_lost"] == 0


def test_datagrams_go_on_across_a_key_update(wire):
    joined = wire().established()
    joined.client.engine._connection.request_key_update()
    for number in range(50):
        joined.client.engine.send([bytes([number])], joined.now)
        joined.run(0.02)
        if number == 25:
            joined.server.engine._connection.request_key_update()
    # aioquic forgets the old keys at once, so a packet that crosses the server's update is lost.
    numbers = [datagram[0] for datagram in joined.server.datagrams]
    assert numbers == sorted(numbers)
    assert set(range(50)) - set(numbers) <= {26, 27}
    assert joined.client.closed is None


def test_a_missing_private_attribute_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(aioquic_private, "REQUIRED", (*aioquic_private.REQUIRED, "tls._gone"))
    aioquic_private.fast_path_works.cache_clear()
    try:
        with pytest.raises(PluginError, match=r"aioquic .*tls\._gone.* is missing"):
            AioquicEngine()
    finally:
        aioquic_private.fast_path_works.cache_clear()


@pytest.mark.parametrize("group", ["FAST", "FAST_SPACE", "FAST_CRYPTO", "FAST_CIPHER"])
def test_without_what_the_fast_path_needs_the_slow_one_works(monkeypatch, wire, group):
    monkeypatch.setattr(aioquic_private, group, ("_gone",))
    aioquic_private.fast_path_works.cache_clear()
    try:
        joined = wire().established()
        assert joined.client.engine.facts()["fast_path"] == 0
        joined.client.engine.send([b"slow"], joined.now)
        joined.run(0.1)
        assert joined.server.datagrams == [b"slow"]
    finally:
        aioquic_private.fast_path_works.cache_clear()


def test_the_installed_aioquic_has_the_fast_path():
    assert aioquic_private.fast_path_works()


def test_the_pacer_keeps_its_rate_and_its_credit_outlasts_a_coarse_timer():
    pacer = BurstPacer(1000)
    assert pacer.allowance(0.0) == math.inf
    pacer.update_rate(100_000, 0.1)  # 1250 packets a second
    assert pacer.allowance(1.0) == 32_000
    now, sent = 1.0, 0
    while now < 3.0:
        while pacer.next_send_time(now) is None:
            pacer.update_after_send(now)
            pacer.settle(1000)
            sent += 1
        wait = pacer.next_send_time(now) - now
        assert wait > 0.00099
        now += max(wait, 0.002)  # as late as epoll may be
    assert sent == pytest.approx(2500 + 32, abs=10)


def test_acknowledgements_take_no_credit():
    pacer = BurstPacer(1000)
    pacer.update_rate(10_000, 1.0)
    pacer.allowance(1.0)
    for _ in range(1000):
        pacer.update_after_send(1.0)
    pacer.settle(0)
    assert pacer.allowance(1.0) == 32_000


def test_small_packets_take_the_credit_of_their_size():
    pacer = BurstPacer(1000)
    pacer.update_rate(10_000, 1.0)
    pacer.allowance(1.0)
    for _ in range(20):
        pacer.update_after_send(1.0)
    pacer.settle(20 * 100)
    assert pacer.allowance(1.0) == 30_000
    pacer.settle(100_000)
    assert pacer.allowance(1.0) == 0, "no debt"


@pytest.mark.parametrize("fast", [True, False])
def test_who_acknowledges_a_stream_of_packets_may_still_send_small_ones(fast, wire):
    """A receiver of bulk traffic has a small window: were its acknowledgements paced as full packets, TCP's own,
    inside, would wait for them."""
    joined = wire(fast=(fast, fast), delay=0.05).established()
    joined.run(0.5)
    for _ in range(1000):
        joined.client.engine.send([b"x" * 1100], joined.now)
        joined.run(0.001)
    assert len(joined.server.sent) > 200
    assert joined.server.engine.room(joined.now) > 8 * 1100


@pytest.mark.parametrize("fast", [True, False])
def test_a_move_to_a_narrower_path_is_followed(fast, wire):
    """Packets that test a new path are no larger than they must be: at the old path's size they would be lost there."""
    joined = wire(fast=(fast, fast), payload=1472).established()
    moved = ("192.0.2.9", 5001)
    joined.client.address, joined.largest = moved, 1300
    joined.client.engine.ping()
    joined.run(1.0)
    assert joined.server.engine.peer_address == moved
    assert joined.server.engine._connection._network_paths[0].is_validated
    joined.send(joined.server, [b"hello"])
    joined.run(0.1)
    assert joined.client.datagrams == [b"hello"]


def test_a_first_packet_that_leaves_out_a_lot_is_refused(wire):
    joined = wire()
    sender = next(iter(joined.client.engine._connection._crypto_streams.values())).sender
    size = len(sender._buffer)
    sender._buffer_start, sender._buffer_stop = 500_000, 500_000 + size
    sender._pending = RangeSet([range(500_000, 500_000 + size)])
    joined.leave(joined.client)
    _, packet, source, to = joined.in_flight[0]
    joined.arrive(packet, source, to)
    joined.leave(joined.server)
    assert joined.server.closed is not None
    assert "crypto" in joined.server.closed.reason


def test_the_buffers_of_the_handshake_are_given_back(wire):
    """24 KiB a connection, a quarter of what an idle session takes."""
    joined = wire().established()
    for side in (joined.client, joined.server):
        assert not side.engine._connection._crypto_buffers
