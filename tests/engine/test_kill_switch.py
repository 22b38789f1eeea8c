"""A client whose kill switch cannot be closed dials nobody; tests/netns/test_kill_switch.py has real ones."""

import pytest

from vpnrs_core.errors import HostError
from vpnrs_core.events import Connected, ConnectFailed
from vpnrs_core.testkit.inprocess import running


async def test_without_a_kill_switch_that_is_wanted_nothing_is_sent(tmp_path):
    async with running(tmp_path) as pair:
        client, refuses = pair.client, [True]

        async def set_kill_switch(*_):
            if refuses:
                raise HostError("nft fell ill")

        client.kit_host.left_open = list
        client.kit_host.set_kill_switch = set_kill_switch
        wanted = client.configuration.model_copy(update={"kill_switch": True})
        with pytest.raises(HostError, match="fell ill"):
            await client._part.reconfigure(wanted, frozenset({"kill_switch"}))
        client._part._link.lose("the test cuts it")
        for attempt in (1, 2):
            await client.until(ConnectFailed, lambda e, n=attempt: "fell ill" in e.error and e.attempt == n)
        assert len([event for event in client.events if isinstance(event, Connected)]) == 1
        refuses.clear()
        await client.until(Connected, lambda event: event is not client.events[0] and event.resumed)
