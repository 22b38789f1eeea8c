"""The two lines of docs/explanation/ordering.md that say what a packet passes: a pipeline says the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vpnrs_core.counters import DropCounts
from vpnrs_core.interfaces import Packet
from vpnrs_core.pipeline.pipeline import Pipeline, StageSpec
from vpnrs_core.testkit.packets import udp

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "ordering.md").read_text()
BLOCK = re.search(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)
assert BLOCK is not None
COURSES = {name: re.split(r" → ", course) for name, course in re.findall(r"^(\w+) +(.*)$", BLOCK[1], re.M)}
POOL = ip_network("10.0.0.0/24")
HOST, A, B, FREE = "192.0.2.1", "10.0.0.2", "10.0.0.3", "10.0.0.9"


class Stage:
    """Notes its name and lets pass."""

    def __init__(self, side: str, order: int, noted: list[str]) -> None:
        self.NAME, self.ORDER, self.noted = f"{side}-side {order}", order, noted
        if side == "TUN":
            self.tun = lambda wake_at: self
        else:
            self.bind = lambda session, wake_at: self

    def process(self, direction: Any, batch: Any, out: Any, now: float) -> None:
        self.noted.append(self.NAME)
        for packet in batch:
            out.forward(packet)

    def close(self, reason: str) -> None:
        """Nothing to end."""


class World:
    """A server with two stages on each side, the outer ones named first, and the sessions a and b."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.drops = DropCounts()
        stages = [Stage(side, order, self.noted) for order in (900, 100) for side in ("TUN", "peer")]
        specs = [StageSpec("test", stage) for stage in stages]  # type: ignore[arg-type]
        self.pipeline = Pipeline("server", specs, self.drops, lambda *failure: pytest.fail(f"{failure}"), pools=[POOL])
        self.a, self.b = (
            self.pipeline.open(SimpleNamespace(id=text, leases=(ip_address(text),), facts={}), mtu=1400)  # type: ignore[arg-type]
            for text in (A, B)
        )

    def ingress(self, source: str, destination: str) -> list[str]:
        self.pipeline.ingress(self.a, [Packet.of(udp(source, destination, b"x"))], 0.0)
        return self.took()

    def egress(self, destination: str) -> list[str]:
        self.pipeline.egress([Packet.of(udp(HOST, destination, b"x"))], 0.0)
        return self.took()

    def took(self) -> list[str]:
        noted = list(self.noted)
        self.noted.clear()
        return noted


def stages_of(course: list[str]) -> list[str]:
    """What the page's words mean for the stages of World."""
    found = []
    for step in course:
        named = re.fullmatch(r"(tun|peer)-side(?: stages)?, (ascending|descending)", step)
        if named:
            orders = (100, 900) if named[2] == "ascending" else (900, 100)
            found += [f"{'TUN' if named[1] == 'tun' else 'peer'}-side {order}" for order in orders]
    return found


def test_the_page_shows_both_ways() -> None:
    assert list(COURSES) == ["egress", "ingress"]
    assert [len(stages_of(course)) for course in COURSES.values()] == [4, 4]


@pytest.mark.parametrize(
    ("name", "send"),
    [("egress", lambda world: world.egress(A)), ("ingress", lambda world: world.ingress(A, HOST))],
)
def test_a_packet_passes_the_stages_in_the_order_of_the_page(name: str, send: Callable[[World], list[str]]) -> None:
    assert send(World()) == stages_of(COURSES[name])


def test_what_is_between_the_stages_is_where_the_page_has_it() -> None:
    egress, ingress = COURSES["egress"], COURSES["ingress"]
    world = World()
    assert (egress[0], egress[-2:]) == ("TUN", ["queue", "peer"])
    world.egress(A)
    assert world.a.queue.bytes
    assert egress[2] == "route by destination"
    # The answer to its sender follows, on the other way.
    assert world.egress(FREE) == stages_of(egress[:2]) + stages_of(ingress[-3:])
    assert world.drops.nonzero() == {"no_route": 1}

    world = World()
    assert ingress[:2] == ["peer", "source check"]
    assert world.ingress(B, HOST) == []
    assert world.drops.nonzero() == {"source": 1}
    assert ingress[-2:] == ["isolation", "TUN"]
    assert world.ingress(A, B) == stages_of(ingress[:-2])
    assert world.drops.nonzero() == {"source": 1, "isolation": 1}
    assert not world.pipeline.to_tun
    world.ingress(A, HOST)
    assert len(world.pipeline.to_tun) == 1
