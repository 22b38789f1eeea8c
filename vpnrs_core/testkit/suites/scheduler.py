"""The contract of link schedulers: every packet of a batch on at least one of the given links, in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from vpnrs_core.interfaces import Packet, PathFacts
from vpnrs_core.testkit.packets import udp
from vpnrs_core.testkit.suites.base import Suite, is_named


class _Connection:
    """What a scheduler may look at of a link's connection."""

    def __init__(self, path: PathFacts, room: int) -> None:
        self.path, self._room = path, room
        self.alpn, self.is_client = "vpnrs/1", True

    def room(self) -> int:
        return self._room

    def max_datagram(self) -> int:
        return 1324

    def facts(self) -> Mapping[str, str | int | float]:
        return {}


class KitLink:
    """interfaces.Link with the facts that a test gives it."""

    prefix = b""

    def __init__(self, number: int, rtt: float | None, loss: float | None, room: int) -> None:
        self.connection = _Connection(PathFacts(f"192.0.2.1:{number}", f"192.0.2.2:{number}", rtt, loss, 1350), room)

    def max_payload(self) -> int:
        return 1324

    def room(self) -> int:
        return self.connection.room()

    def message(self, codec: str, body: bytes) -> None:
        raise AssertionError("a scheduler sends no messages")


_SETS = {
    "one": [KitLink(1, 0.02, 0.0, 1 << 20)],
    "nothing known": [KitLink(1, None, None, 1 << 20), KitLink(2, None, None, 1 << 20)],
    "unlike": [KitLink(1, 0.2, 0.1, 10_000), KitLink(2, 0.01, 0.0, 1 << 20), KitLink(3, 0.05, None, 3000)],
    "all full": [KitLink(1, 0.02, 0.0, 0), KitLink(2, 0.03, 0.0, 0)],
}


class SchedulerSuite(Suite):
    """`subject` is the scheduler."""

    kind: ClassVar[str] = "scheduler"

    def test_it_has_a_name(self, subject: Any) -> None:
        assert is_named(subject)

    @pytest.mark.parametrize("links", _SETS.values(), ids=_SETS)
    def test_no_packet_is_left_and_none_is_made_up(self, subject: Any, links: list[KitLink]) -> None:
        for turn in range(20):
            batch = [Packet.of(udp("10.0.0.2", "192.0.2.1", bytes((turn, n)))) for n in range(turn)]
            given = list(subject.assign(batch, links, float(turn)))
            same = {id(packet) for _, packet in given} == {id(packet) for packet in batch}
            assert same, (
                f"{len(batch)} packets came and {len(given)} were assigned: each on one link at least, none else"
            )
            assert all(any(link is each for each in links) for link, _ in given), "a link that was not offered"

    @pytest.mark.parametrize("links", _SETS.values(), ids=_SETS)
    def test_packets_keep_their_order_on_a_link(self, subject: Any, links: list[KitLink]) -> None:
        batch = [Packet.of(udp("10.0.0.2", "192.0.2.1", bytes((n,)))) for n in range(50)]
        place = {id(packet): n for n, packet in enumerate(batch)}
        given = list(subject.assign(batch, links, 0.0))
        for link in links:
            order = [place[id(packet)] for on, packet in given if on is link]
            assert order == sorted(order)

    def test_a_link_that_is_gone_is_not_used(self, subject: Any) -> None:
        links = _SETS["unlike"]
        batch = [Packet.of(udp("10.0.0.2", "192.0.2.1", b"x")) for _ in range(20)]
        list(subject.assign(batch, links, 0.0))
        assert {id(link) for link, _ in subject.assign(batch, links[1:2], 1.0)} == {id(links[1])}
