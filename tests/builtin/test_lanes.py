"""Both lanes over a fake connection: what they take, and what they leave with their caller."""

from vpnrs_core.builtin.lanes import MAX_UNSENT, DatagramLane, StreamLane
from vpnrs_core.testkit.clock import Clock
from vpnrs_core.testkit.connection import FakeConnection, FakePath, connection_pair
from vpnrs_core.wire.capsule import CapsuleParser
from vpnrs_core.wire.codepoints import LANE_LIMITS, LANE_STREAM, MAX_LANE_VALUE


def client(path: FakePath | None = None) -> FakeConnection:
    return connection_pair(path, call_later=Clock().call_later)[0]


def test_the_datagram_lane_asks_the_connection() -> None:
    connection = client(FakePath(datagram_size=1200, datagram_room=2500))
    lane = DatagramLane(connection)
    assert (lane.max_payload(), lane.room()) == (1200, 2500)
    assert lane.send([bytes(1200)] * 5) == 2
    assert connection.datagrams_sent == [bytes(1200)] * 2


def test_a_stream_lane_takes_nothing_before_its_stream_is_there() -> None:
    lane = StreamLane(client())
    assert (lane.ready, lane.room(), lane.send([b"x"])) == (False, 0, 0)


def test_a_stream_lane_writes_capsules_and_stops_at_its_bound() -> None:
    connection = client()
    connection.fake_streams.held = True
    lane = StreamLane(connection)
    lane.use(LANE_STREAM)
    payload = bytes(MAX_LANE_VALUE)
    assert lane.max_payload() == MAX_LANE_VALUE
    assert lane.send([payload] * 10) == 4
    assert lane.room() == 0
    assert lane.send([b"x"]) == 0
    assert connection.streams.unsent(LANE_STREAM) < MAX_UNSENT + 2 * MAX_LANE_VALUE
    sent = bytes(connection.fake_streams.written[LANE_STREAM])
    assert list(CapsuleParser(LANE_LIMITS).feed(sent)) == [(0, payload)] * 4
    connection.fake_streams.flush()
    assert lane.room() == MAX_UNSENT


def test_control_messages_go_before_the_stream_lane() -> None:
    connection = client()
    lane = StreamLane(connection)
    lane.use(LANE_STREAM)
    connection.fake_streams.held = True
    connection.streams.write(0, b"control")
    assert (lane.room(), lane.send([b"x"])) == (0, 0)
