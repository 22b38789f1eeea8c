"""The aioquic adapter: real QUIC between two of its connections, in memory, on the test's clock."""

import math
import random

import pytest

from vpnrs_core.errors import PluginError
from vpnrs_core.interfaces.engine import Closed, ConnectionIdIssued, HandshakeDone
from vpnrs_core.quic import aioquic_private
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.aioquic_private import BurstPacer
from vpnrs_core.quic.identity import pin_of_spki, spki_of

BOTH_WAYS = [(True, True), (False, False), (True, False), (False, True)]


def test_the_handshake_reports_alpn_certificate_and_connection_ids(wire):
    joined = wire().established()
    for side in (joined.client, joined.server):
        assert [event.alpn for event in side.events if isinstance(event, HandshakeDone)] == ["a"]
    assert pin_of_spki(spki_of(joined.client.engine.peer_certificate())).startswith("sha256:")
    assert joined.server.engine.peer_certificate() is None
    assert [e for e in joined.server.events if isinstance(e, ConnectionIdIssued)]
    assert len(joined.server.engine.connection_ids) == 2


def test_nothing_may_be_sent_before_the_handshake(wire):
    engine = wire().client.engine
    assert (engine.max_datagram(), engine.room(0.0)) == (0, 0)
    assert engine.send([b"x" * 0], 0.0) == 0


@pytest.mark.parametrize("fast", BOTH_WAYS)
def test_datagrams_arrive_unchanged_and_in_order_both_ways(wire, fast):
    joined = wire(fast=fast).established()
    source = random.Random(1)
    sides = (joined.client, joined.server)
    wanted = {}
    for side in sides:
        largest = side.engine.max_datagram()
        sizes = [1, 62, 63, 64, 65, 66, 67, largest, *(source.randrange(1, largest + 1) for _ in range(400))]
        wanted[side] = [source.randbytes(size) for size in sizes]
    left = {side: list(wanted[side]) for side in sides}
    while any(left.values()):
        for side in sides:
            del left[side][: side.engine.send(left[side], joined.now)]
        joined.step()
    joined.run(0.5)
    assert joined.server.datagrams == wanted[joined.client]
    assert joined.client.datagrams == wanted[joined.server]


@pytest.mark.parametrize("payload", [1200, 1350, 9000, 20000, 65000])
@pytest.mark.parametrize("fast", [True, False])
def test_the_largest_datagram_fills_the_packet_exactly(wire, payload, fast):
    joined = wire(fast=(fast, True), payload=payload).established()
    largest = joined.client.engine.max_datagram()
    assert joined.client.engine.send([b"d" * largest], joined.now) == 1
    joined.until(lambda: joined.server.datagrams)
    assert joined.server.datagrams == [b"d" * largest]
    assert max(map(len, joined.client.sent)) == payload


def test_an_inner_mtu_of_1280_fits_the_default_packet(wire):
    assert wire().established().client.engine.max_datagram() >= 1280 + 12


@pytest.mark.parametrize("fast", [True, False])
def test_an_oversized_datagram_is_dropped_and_blocks_nothing(wire, fast):
    joined = wire(fast=(fast, fast)).established()
    largest = joined.client.engine.max_datagram()
    assert joined.client.engine.send([b"a", bytes(largest + 1), b"b"], joined.now) == 3
    joined.run(0.1)
    assert joined.server.datagrams == [b"a", b"b"]
    assert joined.client.engine.facts()["oversized"] == 1


def test_a_shrunken_path_shrinks_what_is_taken(wire):
    joined = wire().established()
    before = joined.client.engine.max_datagram()
    joined.client.engine.limit_payload(1280)
    assert joined.client.engine.max_datagram() == before - 70
    joined.client.engine.limit_payload(100)
    assert joined.client.engine.max_datagram() == before - 150


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
    joined._leave(joined.client)
    assert len(joined.client.sent) - before == taken
    facts = engine.facts()
    assert facts["bytes_in_flight"] <= facts["congestion_window"]
    joined.until(lambda: engine.room(joined.now) > 0)


@pytest.mark.parametrize("fast", [True, False])
def test_stream_bytes_come_before_datagrams(wire, fast):
    joined = wire(fast=(fast, fast)).established()
    engine = joined.client.engine
    stream = engine.open_stream()
    assert engine.send([b"d" * 1000] * 4, joined.now) == 4
    engine.write_stream(stream, b"control")
    assert engine.unsent(stream) == 7
    assert engine.room(joined.now) == 0
    assert engine.send([b"late"], joined.now) == 0
    joined._leave(joined.client)
    assert engine.unsent(stream) == 0
    joined._arrive(*joined.in_flight[0][1:])  # the first packet alone
    assert joined.server.stream(stream) == b"control"
    assert engine.room(joined.now) > 0


def test_a_long_stream_keeps_datagrams_out_until_it_has_left(wire):
    joined = wire().established()
    engine = joined.client.engine
    stream = engine.open_stream()
    content = random.Random(2).randbytes(300_000)
    engine.write_stream(stream, content, end=True)
    while engine.unsent(stream):
        assert engine.send([b"no"], joined.now) == 0
        joined.step()
    joined.run(0.5)
    assert joined.server.stream(stream) == content
    assert engine.send([b"now"], joined.now) == 1


@pytest.mark.parametrize("fast", BOTH_WAYS)
def test_losses_lose_datagrams_only(wire, fast):
    joined = wire(fast=fast).established()
    joined.loss = 0.05
    stream = joined.client.engine.open_stream()
    content = random.Random(3).randbytes(50_000)
    joined.client.engine.write_stream(stream, content)
    sent = []
    while len(sent) < 1500:
        batch = [number.to_bytes(4, "big") * 250 for number in range(len(sent), len(sent) + 20)]
        sent += batch[: joined.client.engine.send(batch, joined.now)]
        joined.step()
    joined.run(2.0)
    assert joined.server.stream(stream) == content
    numbers = [int.from_bytes(datagram[:4], "big") for datagram in joined.server.datagrams]
    assert numbers == sorted(set(numbers))
    assert 0.8 * len(sent) < len(numbers) < len(sent)
    assert joined.client.engine.facts()["packets_lost"] > 0
    assert joined.client.closed is None


@pytest.mark.parametrize("fast", [True, False])
def test_a_control_message_passes_a_full_queue_of_datagrams(wire, fast):
    """A minute of more datagrams than a link of 1 Mbit/s takes: PING arrives within 3 round trips and a second."""
    joined = wire(fast=(fast, fast), delay=0.025).established()
    joined.rate, joined.buffer = 125_000, 32_000
    client = joined.client.engine
    stream = client.open_stream()
    client.write_stream(stream, b"HELLO")
    joined.run(0.2)
    end, ping_at, pings, waits = joined.now + 60, joined.now + 2, 0, []
    while joined.now < end:
        client.send([bytes(1200)] * 45, joined.now)
        if joined.now >= ping_at and len(waits) == pings:
            pings, asked, ping_at = pings + 1, joined.now, joined.now + 2
            client.write_stream(stream, b"PING")
        joined.step(ping_at if pings == len(waits) else end)
        if pings > len(waits) and len(joined.server.stream(stream)) == 5 + 4 * pings:
            waits.append(joined.now - asked)
            ping_at = joined.now + 2
    assert len(waits) > 20
    assert max(waits) < 3 * 0.05 + 1.0
    assert joined.client.closed is None
    goodput = sum(map(len, joined.server.datagrams)) / 60
    assert goodput > 0.7 * 125_000


def test_a_repeated_packet_is_delivered_once(wire):
    joined = wire().established()
    joined.client.engine.send([b"once"], joined.now)
    joined._leave(joined.client)
    packet = joined.client.sent[-1]
    for _ in range(3):
        joined._arrive(packet, joined.client.address, joined.server.address)
    assert joined.server.datagrams == [b"once"]


def test_a_changed_packet_is_dropped(wire):
    joined = wire().established()
    joined.client.engine.send([bytes(500)], joined.now)
    joined._leave(joined.client)
    packet = bytearray(joined.client.sent[-1])
    packet[-1] ^= 1
    joined._arrive(bytes(packet), joined.client.address, joined.server.address)
    assert joined.server.datagrams == []
    assert joined.server.closed is None


def test_joined_buffers_equal_single_packets(wire):
    joined = wire().established()
    datagrams = [bytes([number]) * 1000 for number in range(8)]
    assert joined.client.engine.send(datagrams, joined.now) == 8
    packets = [packet for packet, _ in joined.client.engine.transmit(joined.now)]
    sizes = {len(packet) for packet in packets[-8:]}
    assert len(sizes) == 1
    joined.server.engine.receive(b"".join(packets[-8:]), sizes.pop(), joined.client.address, joined.now)
    joined.server.collect()
    assert joined.server.datagrams == datagrams


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


def test_a_client_that_moved_is_followed(wire):
    joined = wire().established()
    joined.client.address = ("198.51.100.9", 6000)
    for number in range(10):
        joined.client.engine.send([bytes([number])], joined.now)
        joined.run(0.1)
    assert joined.server.engine.peer_address == ("198.51.100.9", 6000)
    assert joined.server.datagrams == [bytes([number]) for number in range(10)]
    joined.server.engine.send([b"back"], joined.now)
    joined.run(0.1)
    assert joined.client.datagrams == [b"back"]


def test_a_close_is_reported_at_once_and_drains(wire):
    joined = wire().established()
    joined.client.engine.close(0x4005, "r" * 5000)
    joined.until(lambda: joined.server.closed)
    assert joined.server.closed.code == 0x4005
    assert set(joined.server.closed.reason) == {"r"}
    assert joined.server.engine.send([b"x"], joined.now) == 0
    start = joined.now
    while joined.client.engine.timer() is not None or joined.server.engine.timer() is not None:
        joined.step()
        assert joined.now - start < 2.0
    assert [e for e in joined.server.events if isinstance(e, Closed)] == [joined.server.closed]


def test_a_silent_peer_is_given_up_and_a_ping_keeps_it(wire):
    joined = wire(settings={"idle_timeout": 5.0}).established()
    for _ in range(4):
        joined.client.engine.ping()
        joined.run(3.0)
    assert joined.client.closed is None
    joined.run(6.0)
    assert "idle" in joined.client.closed.reason


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
    assert pacer.allowance(1.0) == 32
    now, sent = 1.0, 0
    while now < 3.0:
        while pacer.next_send_time(now) is None:
            pacer.update_after_send(now)
            sent += 1
        wait = pacer.next_send_time(now) - now
        assert wait > 0.00099
        now += max(wait, 0.002)  # as late as epoll may be
    assert sent == pytest.approx(2500 + 32, abs=10)


def test_acknowledgements_run_up_no_debt():
    pacer = BurstPacer(1000)
    pacer.update_rate(10_000, 1.0)
    pacer.allowance(1.0)
    for _ in range(1000):
        pacer.update_after_send(1.0)
    assert pacer.next_send_time(1.1) is None
