"""What every QUIC engine promises, as tests: an engine's own tests subclass EngineSuite and give it engines.

pytest.register_assert_rewrite("vpnrs_core.testkit.engine_suite")

class TestMine(EngineSuite):
    @pytest.fixture
    def engines(self):
        return MyEngine(), MyEngine()  # the client's and the server's
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from vpnrs_core.interfaces.engine import (
    Closed,
    ConnectionIdIssued,
    ConnectionIdRetired,
    HandshakeDone,
    QuicEngine,
    StreamData,
    StreamReset,
)
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.identity import spki_of
from vpnrs_core.quic.packets import parse_long
from vpnrs_core.testkit.wire import PAIR, SERVER, Side, Wire

Engines = tuple[QuicEngine, QuicEngine]
# Bytes of streams that a connection may be made to keep.
MOST_STREAM_BYTES = 17 << 20


class EngineSuite:
    """Real QUIC between two connections in memory, on the test's clock."""

    @pytest.fixture
    def engines(self) -> Engines:
        raise AssertionError("a subclass gives the engines to test")

    def test_the_handshake_reports_alpn_certificate_and_connection_ids(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        for side in (joined.client, joined.server):
            assert [event.alpn for event in side.events if isinstance(event, HandshakeDone)] == ["a"]
        certificate = joined.client.engine.peer_certificate()
        assert certificate is not None
        assert spki_of(certificate) == PAIR.spki
        assert joined.server.engine.peer_certificate() is None
        assert [e for e in joined.server.events if isinstance(e, ConnectionIdIssued)]
        assert len(joined.server.engine.connection_ids) == 2

    def test_the_handshake_takes_two_round_trips_and_never_a_timeout(self, engines: Engines) -> None:
        joined = Wire(*engines, delay=0.050)
        joined.until(lambda: joined.server.started is not None and joined.server.engine.max_datagram())
        assert joined.now - 100.0 < 0.2

    def test_a_stranger_is_answered_with_three_times_its_bytes_at_most(self, engines: Engines) -> None:
        joined = Wire(*engines)
        first = [packet for group, _ in joined.client.engine.transmit(joined.now) for packet in group]
        for packet in first:
            joined.arrive(packet, joined.client.address, SERVER)
        for _ in range(50):
            joined.leave(joined.server)
            at = joined.server.engine.timer()
            if at is None:
                break  # it has given up
            joined.now = max(joined.now, at) + 1e-6
            joined.server.engine.handle_timer(joined.now)
        assert 0 < sum(map(len, joined.server.sent)) <= 3 * sum(map(len, first))

    def test_the_server_answers_to_every_id_that_it_named(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        known = set(joined.server.engine.connection_ids)
        known |= {e.connection_id for e in joined.server.events if isinstance(e, ConnectionIdIssued)}
        retired = {e.connection_id for e in joined.server.events if isinstance(e, ConnectionIdRetired)}
        assert retired <= known
        for packet in joined.client.sent:
            header = parse_long(packet) if packet[0] & 0x80 else None
            assert (packet[1:9] if header is None else header.destination) in known

    def test_what_a_peer_may_leave_holes_in_does_not_grow_with_what_it_sent(self, engines: Engines) -> None:
        joined = Wire(AioquicEngine(), engines[1], delay=0.001, payload=16_000).established()
        client: Any = joined.client.engine
        stream = client.open_stream()
        for sent in range(1, 41):
            client.write_stream(stream, bytes(1 << 20))
            joined.until(lambda: not client.unsent(stream))
            allowed = client._connection._remote_max_data - (sent << 20)
            assert allowed <= MOST_STREAM_BYTES
        joined.until(lambda: len(joined.server.stream(stream)) == 40 << 20)

    def test_nothing_may_be_sent_before_the_handshake(self, engines: Engines) -> None:
        engine = Wire(*engines).client.engine
        assert (engine.max_datagram(), engine.room(0.0)) == (0, 0)
        assert engine.send([b""], 0.0) == 0

    def test_datagrams_arrive_unchanged_and_in_order_both_ways(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        source = random.Random(1)
        sides = (joined.client, joined.server)
        wanted: dict[Side, list[bytes]] = {}
        for side in sides:
            largest = side.engine.max_datagram()
            sizes = [1, 62, 63, 64, 65, 66, 67, largest, *(source.randrange(1, largest + 1) for _ in range(400))]
            wanted[side] = [source.randbytes(size) for size in sizes]
        left = {side: list(wanted[side]) for side in sides}
        while any(left.values()):
            for side in sides:
                del left[side][: joined.send(side, left[side])]
            joined.step()
        joined.run(0.5)
        assert joined.server.datagrams == wanted[joined.client]
        assert joined.client.datagrams == wanted[joined.server]

    def test_an_inner_mtu_of_1280_fits_the_default_packet(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        for side in (joined.client, joined.server):
            assert side.engine.max_datagram() >= 1280 + 12

    @pytest.mark.parametrize("payload", [1200, 1350, 1472])
    def test_the_largest_datagram_fits_and_nothing_outgrows_the_payload(self, engines: Engines, payload: int) -> None:
        joined = Wire(*engines, payload=payload).established()
        for side, other in ((joined.client, joined.server), (joined.server, joined.client)):
            largest = side.engine.max_datagram()
            assert payload - 32 <= largest < payload
            for _ in range(3):
                assert joined.send(side, [b"d" * largest] * 3) == 3
                joined.run(0.1)
            assert other.datagrams == [b"d" * largest] * 9
            assert max(map(len, side.sent)) <= payload

    def test_an_oversized_datagram_is_dropped_and_blocks_nothing(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        for side, other in ((joined.client, joined.server), (joined.server, joined.client)):
            largest = side.engine.max_datagram()
            assert joined.send(side, [b"a", bytes(largest + 1), bytes(70_000), b"b"]) == 4
            joined.run(0.1)
            assert other.datagrams == [b"a", b"b"]
            assert side.engine.facts()["oversized"] == 2

    def test_a_shrunken_path_shrinks_what_is_taken(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        before = joined.client.engine.max_datagram()
        joined.client.engine.limit_payload(1280)
        assert joined.client.engine.max_datagram() == before - 70
        joined.client.engine.limit_payload(100)
        assert joined.client.engine.max_datagram() == before - 150

    def test_a_shrunken_path_carries_streams_and_datagrams(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        client = joined.client.engine
        stream = client.open_stream()
        content = random.Random(4).randbytes(20_000)
        joined.largest = 1250
        client.write_stream(stream, content)
        joined.step()
        client.limit_payload(1250)
        joined.client.sent.clear()
        joined.until(lambda: len(joined.server.stream(stream)) == len(content))
        datagram = bytes(client.max_datagram())
        joined.run(0.5)  # what the smaller packets lost of the window is back
        assert joined.send(joined.client, [b"small"] * 100 + [datagram]) == 101
        joined.run(0.5)
        assert joined.server.stream(stream) == content
        assert joined.server.datagrams == [b"small"] * 100 + [datagram]

    def test_no_more_is_taken_than_may_leave_at_once(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        engine = joined.client.engine
        room, largest = engine.room(joined.now), engine.max_datagram()
        taken = joined.send(joined.client, [bytes(largest)] * 10_000)
        assert 0 < taken < 10_000
        assert taken * largest >= room
        assert engine.room(joined.now) == 0
        assert joined.send(joined.client, [bytes(largest)]) == 0
        before = len(joined.client.sent)
        joined.leave(joined.client)
        assert len(joined.client.sent) - before >= taken
        joined.until(lambda: engine.room(joined.now) > 0)

    def test_stream_bytes_come_before_datagrams(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        engine = joined.client.engine
        stream = engine.open_stream()
        assert joined.send(joined.client, [b"d" * 1000] * 4) == 4
        engine.write_stream(stream, b"control")
        assert engine.unsent(stream) == 7
        assert engine.room(joined.now) == 0
        assert joined.send(joined.client, [b"late"]) == 0
        joined.leave(joined.client)
        assert engine.unsent(stream) == 0
        joined.arrive(*joined.in_flight[0][1:])  # the first packet alone
        assert joined.server.stream(stream) == b"control"
        assert engine.room(joined.now) > 0

    def test_a_long_stream_keeps_datagrams_out_until_it_has_left(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        engine = joined.client.engine
        stream = engine.open_stream()
        content = random.Random(2).randbytes(300_000)
        engine.write_stream(stream, content, end=True)
        while engine.unsent(stream):
            assert joined.send(joined.client, [b"no"]) == 0
            joined.step()
        joined.run(0.5)
        assert joined.server.stream(stream) == content
        assert joined.send(joined.client, [b"now"]) == 1

    def test_losses_lose_datagrams_only(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        joined.loss = 0.05
        stream = joined.client.engine.open_stream()
        content = random.Random(3).randbytes(50_000)
        joined.client.engine.write_stream(stream, content)
        sent: list[bytes] = []
        while len(sent) < 1500:
            batch = [number.to_bytes(4, "big") * 250 for number in range(len(sent), len(sent) + 20)]
            sent += batch[: joined.send(joined.client, batch)]
            joined.step()
        joined.run(2.0)
        assert joined.server.stream(stream) == content
        numbers = [int.from_bytes(datagram[:4], "big") for datagram in joined.server.datagrams]
        assert numbers == sorted(set(numbers))
        assert 0.8 * len(sent) < len(numbers) < len(sent)
        assert joined.client.closed is None

    @pytest.mark.parametrize("loss", [0.0, 0.05])
    def test_a_control_message_passes_a_full_queue_of_datagrams(self, engines: Engines, loss: float) -> None:
        """Many times more datagrams than a link of 1 Mbit/s takes: PING arrives within 3 round trips and a second."""
        joined = Wire(*engines, delay=0.025).established()
        joined.rate, joined.buffer, joined.loss = 125_000, 32_000, loss
        client = joined.client.engine
        stream = client.open_stream()
        client.write_stream(stream, b"HELLO")
        joined.run(1.0)
        end, ping_at, pings = joined.now + 30, joined.now + 1, 0
        waits: list[float] = []
        while joined.now < end:
            # As a busy TUN would: more with each turn.
            joined.send(joined.client, [bytes(1200)] * 10)
            if joined.now >= ping_at and len(waits) == pings:
                pings, asked, ping_at = pings + 1, joined.now, joined.now + 1
                client.write_stream(stream, b"PING")
            joined.step(min(joined.now + 0.050, end))
            if pings > len(waits) and len(joined.server.stream(stream)) == 5 + 4 * pings:
                waits.append(joined.now - asked)
                ping_at = joined.now + 1
        assert len(waits) > 12
        round_trip = 0.05 + joined.buffer / joined.rate
        assert max(waits) < 3 * round_trip + 1.0
        assert joined.client.closed is None
        goodput = sum(map(len, joined.server.datagrams)) / 30
        assert goodput > (0.7 if not loss else 0.2) * joined.rate

    def test_streams_tell_their_end_and_their_reset(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        for side, other in ((joined.client, joined.server), (joined.server, joined.client)):
            ended, cut = side.engine.open_stream(), side.engine.open_stream()
            side.engine.write_stream(ended, b"all of it", end=True)
            side.engine.write_stream(cut, b"some of it")
            joined.run(0.1)
            side.engine.reset_stream(cut, 77)
            joined.run(0.1)
            assert other.stream(ended) == b"all of it"
            assert [e.stream for e in other.events if isinstance(e, StreamData) and e.end] == [ended]
            assert [(e.stream, e.code) for e in other.events if isinstance(e, StreamReset)] == [(cut, 77)]

    def test_no_common_protocol_ends_both_sides(self, engines: Engines) -> None:
        joined = Wire(*engines, alpns=("other",))
        joined.until(lambda: joined.client.closed)
        assert joined.client.engine.max_datagram() == 0
        assert not [event for event in joined.server.events if isinstance(event, HandshakeDone)]

    def test_a_repeated_packet_is_delivered_once(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        joined.send(joined.client, [b"once"])
        joined.leave(joined.client)
        packet = joined.client.sent[-1]
        for _ in range(3):
            joined.arrive(packet, joined.client.address, joined.server.address)
        assert joined.server.datagrams == [b"once"]

    def test_a_changed_packet_is_dropped(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        joined.send(joined.client, [bytes(500)])
        joined.leave(joined.client)
        packet = bytearray(joined.client.sent[-1])
        packet[-1] ^= 1
        joined.arrive(bytes(packet), joined.client.address, joined.server.address)
        assert joined.server.datagrams == []
        assert joined.server.closed is None

    def test_joined_buffers_equal_single_packets(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        datagrams = [bytes([number]) * 1000 for number in range(8)]
        assert joined.send(joined.client, datagrams) == 8
        left = joined.client.engine.transmit(joined.now)
        packets = [packet for group, _ in left for packet in group if len(packet) > 1000]
        sizes = {len(packet) for packet in packets}
        assert (len(packets), len(sizes)) == (8, 1)
        joined.server.engine.receive(b"".join(packets), sizes.pop(), joined.client.address, joined.now)
        joined.server.collect()
        assert joined.server.datagrams == datagrams

    def test_a_client_that_moved_is_followed(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        joined.client.address = ("198.51.100.9", 6000)
        for number in range(10):
            joined.send(joined.client, [bytes([number])])
            joined.run(0.1)
        assert joined.server.engine.peer_address == ("198.51.100.9", 6000)
        assert joined.server.datagrams == [bytes([number]) for number in range(10)]
        joined.send(joined.server, [b"back"])
        joined.run(0.1)
        assert joined.client.datagrams == [b"back"]

    def test_a_close_is_reported_at_once_and_drains(self, engines: Engines) -> None:
        joined = Wire(*engines).established()
        joined.client.engine.close(0x4005, "r" * 5000)
        joined.until(lambda: joined.server.closed)
        told = joined.server.closed
        assert told is not None
        assert told.code == 0x4005
        assert set(told.reason) == {"r"}
        assert joined.send(joined.server, [b"x"]) == 0
        start = joined.now
        while joined.client.engine.timer() is not None or joined.server.engine.timer() is not None:
            joined.step()
            assert joined.now - start < 2.0
        assert [e for e in joined.server.events if isinstance(e, Closed)] == [told]

    def test_a_silent_peer_is_given_up_and_a_ping_keeps_it(self, engines: Engines) -> None:
        joined = Wire(*engines, idle_timeout=5.0).established()
        for _ in range(4):
            joined.client.engine.ping()
            joined.run(3.0)
        assert joined.client.closed is None
        joined.run(6.0)
        assert joined.client.closed is not None
        assert "idle" in joined.client.closed.reason

    def test_packets_start_small_and_grow_to_what_the_path_is_known_to_carry(self, engines: Engines) -> None:
        joined = Wire(*engines, payload=1472, start_udp_payload=1324).established()
        for side in (joined.client, joined.server):
            assert max(map(len, side.sent)) <= 1280
        engine = joined.client.engine
        before = engine.max_datagram()
        assert before >= 1280 + 12
        if engine.largest_payload == engine.payload < 1472:
            return  # what cannot change its size stays with the one that it starts with
        assert (engine.payload, engine.largest_payload) == (1324, 1472)
        engine.use_payload(1400, settled=False)
        assert engine.max_datagram() == before + 76
        engine.use_payload(1472, settled=True)
        assert engine.max_datagram() == before + 148
        assert joined.send(joined.client, [bytes(engine.max_datagram())] * 3) == 3
        joined.run(0.1)
        assert joined.server.datagrams == [bytes(engine.max_datagram())] * 3
        engine.use_payload(1300, settled=True)
        assert engine.max_datagram() == before - 24
        joined.client.sent.clear()
        engine.write_stream(engine.open_stream(), bytes(5000))
        joined.send(joined.client, [b"small"] * 100 + [bytes(engine.max_datagram())])
        joined.run(0.1)
        assert max(map(len, joined.client.sent)) <= 1300

    def test_a_probe_is_a_packet_of_its_size_and_changes_nothing_else(self, engines: Engines) -> None:
        joined = Wire(*engines, payload=1472, start_udp_payload=1324).established()
        for side, other in ((joined.client, joined.server), (joined.server, joined.client)):
            before = side.engine.max_datagram()
            if side.engine.largest_payload == side.engine.payload:
                continue
            side.sent.clear()
            for number, size in enumerate((1200, 1324, 1472)):
                side.engine.probe(b"\x80%c" % number, size)
            joined.run(0.2)
            sizes = sorted((len(packet) for packet in side.sent), reverse=True)[:3]
            assert all(0 <= wanted - size <= 2 for wanted, size in zip((1472, 1324, 1200), sizes, strict=True))
            assert [probe[:2] for probe in other.datagrams] == [b"\x80\0", b"\x80\1", b"\x80\2"]
            assert not any(probe[2:].strip(b"\0") for probe in other.datagrams)
            assert (side.engine.max_datagram(), side.engine.payload) == (before, 1324)

    def test_a_probe_that_is_lost_blocks_nothing(self, engines: Engines) -> None:
        joined = Wire(*engines, payload=1472, start_udp_payload=1324).established()
        engine = joined.client.engine
        joined.largest = 1400
        for _ in range(5):
            engine.probe(b"\x80", 1472)
            assert joined.send(joined.client, [b"d" * 1200]) == 1
            joined.run(0.3)
        assert joined.server.datagrams == [b"d" * 1200] * 5

    def test_before_the_path_is_known_a_stream_does_not_fill_larger_packets(self, engines: Engines) -> None:
        joined = Wire(*engines, payload=1472, start_udp_payload=1324).established()
        content = random.Random(4).randbytes(8_000)
        joined.largest = 1324
        engine = joined.server.engine
        stream = engine.open_stream()
        engine.write_stream(stream, content)
        joined.run(1.0)
        assert joined.client.stream(stream) == content
        assert max(map(len, joined.server.sent)) <= 1324
