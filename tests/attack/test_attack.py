"""Every attack, one after the other, against one running server while a good client transfers a file.

Each is a test of its own, and what the server has to say after all of them is others'. One of these that is chosen
alone runs the attacks first. `python -m tests.attack` does the same by hand, and prints what the server counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property

import pytest

from tests.attack.cases import CASES, Case
from tests.attack.field import Field
from tests.netns.stranger import stranger
from vpnrs_core.testkit.netns import Topology
from vpnrs_core.testkit.tunnel import TunnelNet
from vpnrs_core.testkit.tunnel_fixtures import tunnels

pytestmark = [pytest.mark.netns, pytest.mark.xdist_group("attacks")]


class Campaign:
    """All attacks on one server, each once, in the order in which they stand."""

    def __init__(self, make: Callable[..., TunnelNet]) -> None:
        self._make = make
        self._outcomes: dict[Case, Exception | None] = {}

    @cached_property
    def field(self) -> Field:
        return Field(self._make(clients=2))

    async def run(self, case: Case) -> None:
        """Raises what it came to, also when it has been run before."""
        if case not in self._outcomes:
            self._outcomes[case] = await self._attack(case)
        failed = self._outcomes[case]
        if failed is not None:
            raise failed

    async def _attack(self, case: Case) -> Exception | None:
        try:
            async with stranger(self.field.net, 1) as one:
                await case(self.field, one)
            self.field.is_well()
        except Exception as error:
            return error
        return None

    async def run_all(self) -> None:
        """An attack that failed fails in its own name, not in that of who asks afterwards."""
        for case in CASES:
            if case not in self._outcomes:
                self._outcomes[case] = await self._attack(case)

    @cached_property
    def transferred(self) -> int:
        """Bytes, all of them arrived as they were sent. Raises AssertionError otherwise."""
        self.field.transfer.finish()
        return self.field.transfer.bytes


@pytest.fixture(scope="module")
def attacks(request: pytest.FixtureRequest) -> Iterator[Campaign]:
    with tunnels(request.node) as make:
        yield Campaign(make)


@pytest.fixture
def campaign(netns: Topology, attacks: Campaign) -> Campaign:
    """Skips where there are no namespaces, before anything is begun."""
    return attacks


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_who_attacks_harms_only_itself_and_is_seen_in_status_by_reason(campaign: Campaign, case: Case) -> None:
    await campaign.run(case)


async def test_the_file_that_was_transferred_meanwhile_has_arrived_as_it_was_sent(campaign: Campaign) -> None:
    await campaign.run_all()
    assert campaign.transferred > 5_000_000


async def test_what_the_attackers_did_stands_in_the_status_by_reason(campaign: Campaign) -> None:
    await campaign.run_all()
    status = campaign.field.status()
    door = status["server"]["door"]
    assert {"source", "bad_offload", "malformed", "unknown_context"} <= set(status["drops"])
    assert {"retry", "malformed", "too_small", "unknown_connection", "version_negotiation"} <= set(door)
    assert door["never_authenticated"] > 10
    told = json.loads(campaign.field.net.vpnrs("ratelimit", "status", "--json", "--instance", "server"))
    assert told["figures"]["failed_attempts"] >= 20
    assert told["figures"]["refused_attempts"] >= 3
    assert told["figures"]["resumes_let_past"] >= 1
    assert {block["tier"] for block in told["blocks"]} >= {"credential"}


async def test_nothing_that_the_attackers_had_is_left(campaign: Campaign) -> None:
    await campaign.run_all()
    assert campaign.transferred
    campaign.field.is_clean()
    net = campaign.field.net
    codes = net.stop()
    assert not any(codes.values()), codes
    assert net.left_behind() == []
