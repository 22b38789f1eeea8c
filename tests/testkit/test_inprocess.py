"""A server and a client in one process: packets cross, a plugin's stage sees them, and a bad start is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vpnrs_core.errors import PluginError
from vpnrs_core.events import SessionClosed, SessionOpened
from vpnrs_core.testkit.packets import udp


async def test_packets_cross_between_both_hosts(in_process: Callable[..., Any]) -> None:
    async with in_process() as pair:
        mine, six = pair.addresses
        there, back = udp(mine, "192.0.2.9", b"up"), udp("192.0.2.9", mine, b"down")
        assert await pair.up(there, udp(six, "2001:db8::9", b"six")) == [there, udp(six, "2001:db8::9", b"six")]
        assert await pair.down(back) == [back]
        opened = await pair.server.until(SessionOpened)
        assert opened.principal == "alice"
    closed = [event for event in pair.server.events if isinstance(event, SessionClosed)]
    assert [event.counters["ingress_packets"] for event in closed] == [2]


async def test_the_name_and_the_table_are_the_tests_choice(in_process: Callable[..., Any]) -> None:
    options = {"server": {"addresses": {"ipv4": None}}, "client": {"plugins": {"kit_anyone": {"name": "bob"}}}}
    async with in_process(**options) as pair:
        assert (await pair.server.until(SessionOpened)).principal == "bob"
        assert [":" in address for address in pair.addresses] == [True]


async def test_a_start_that_is_refused_is_raised(in_process: Callable[..., Any]) -> None:
    with pytest.raises(PluginError, match="plugin absent: choice"):
        async with in_process(server={"plugins": {"absent": {}}}):
            pass
