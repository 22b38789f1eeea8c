"""What is known of links: handshakes, round trips, moves, and losses that outlive the connection."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vpnrs_core.builtin.lanes import DatagramLane
from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.engine.linkbook import LinkBook
from vpnrs_core.testkit.clock import Clock
from vpnrs_core.testkit.connection import connection_pair


class Counting:
    """A connection that counts as an engine does, around one of the test kit."""

    def __init__(self, connection):
        self._connection = connection
        self.sent = self.lost = 0

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def facts(self):
        return {"engine": "counting", "packets_sent": self.sent, "packets_lost": self.lost}


@pytest.fixture
def clock():
    return Clock()


def port_on(connection):
    return LinkPort(connection, DatagramLane(connection), [(0, "plain", PlainCodec().open(frozenset(), frozenset()))])


def values(book):
    return {sample.name: sample for sample in book.samples()}


async def test_the_handshake_is_from_arrival_to_the_session(clock):
    book = LinkBook(clock)
    connection = Counting(connection_pair()[0])
    book.arrived(connection, clock())
    clock.advance(0.03)
    life = book.up(port_on(connection))
    assert life.handshake == pytest.approx(0.03)
    sample = values(book)["vpnrs_handshake_seconds"]
    assert sample.value == pytest.approx(0.03)
    assert [bound for bound, below in sample.buckets if below] == [
        0.05,
        0.1,
        0.25,
        0.5,
        1.0,
        2.5,
        5.0,
        10.0,
        float("inf"),
    ]


async def test_what_a_connection_counted_outlives_it_and_is_not_counted_twice(clock):
    book = LinkBook(clock)
    connection = Counting(connection_pair()[0])
    first, second = port_on(connection), port_on(connection)  # two sessions on one connection
    book.up(first)
    book.up(second)
    connection.sent, connection.lost = 100, 7
    assert values(book)["vpnrs_quic_packets_sent"].value == 100
    book.down(first)
    book.down(second)
    book.down(second)
    connection.sent = 500  # what comes after the last link is nobody's
    found = values(book)
    assert (found["vpnrs_quic_packets_sent"].value, found["vpnrs_quic_packets_lost"].value) == (100, 7)
    assert found["vpnrs_links"].value == 0


async def test_only_another_address_is_a_migration(clock):
    book = LinkBook(clock)
    connection = connection_pair()[0]
    port = port_on(connection)
    life = book.up(port)
    path = connection.path
    book.moved(port, replace(path, datagram_size=1200))
    assert life.migrations == 0
    book.moved(port, replace(path, remote="192.0.2.9:7"))
    assert (life.migrations, values(book)["vpnrs_migrations"].value) == (1, 1)


async def test_round_trips_are_a_distribution(clock):
    book = LinkBook(clock)
    for rtt in (0.0004, 0.02, 9.0):
        book.measured(rtt)
    sample = values(book)["vpnrs_rtt_seconds"]
    below = dict(sample.buckets)
    assert (below[0.0005], below[0.025], below[2.5], below[float("inf")]) == (1, 2, 2, 3)
    assert sample.value == pytest.approx(9.0204)
