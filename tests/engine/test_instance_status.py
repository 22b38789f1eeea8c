"""What a running instance says of itself, in each of its states, and what saying it costs the packets: nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from vpnrs_core.engine.status import InstanceStatus, json_schema
from vpnrs_core.events import Disconnected
from vpnrs_core.session.session import SessionRecord, SessionState
from vpnrs_core.testkit.inprocess import KitInstance, Pair, running

SCHEMA = json_schema()
MANY = 200


class Crowded:
    """The server's one session, listed many times."""

    def __init__(self, pair: Pair) -> None:
        part: Any = pair.server._part
        self._running = part._live.running
        (self._one,) = self._running.values()

    def __enter__(self) -> SessionRecord:
        self._running.update({f"more{number}": self._one for number in range(MANY - 1)})
        record: SessionRecord = self._one.record
        return record

    def __exit__(self, *_: object) -> None:
        for number in range(MANY - 1):
            del self._running[f"more{number}"]


async def test_every_state_answers_to_the_schema(tmp_path: Path) -> None:
    seen = set()

    async def look(instance: KitInstance) -> InstanceStatus:
        status = await instance.status()
        jsonschema.validate(status.model_dump(mode="json"), SCHEMA)
        assert instance.summary().state == status.state
        seen.add(status.state)
        return status

    async with running(tmp_path, client={"reconnect": {"min": 0.3, "max": 0.3}}) as pair:
        for instance in (pair.server, pair.client):
            status = await look(instance)
            assert instance.summary().sessions == 1
        assert status.client is not None
        assert status.client.session is not None
        assert status.client.session.links[0].facts
        pair.server.stop("the test wants it to")
        await pair.client.until(Disconnected)
        async with asyncio.timeout(10):
            while not {"waiting", "connecting"} <= seen:
                status = await look(pair.client)
                await asyncio.sleep(0.001)
        assert status.client is not None
        assert status.client.last_error
        part = pair.client._part
        pair.client._part = None  # as before it was made
        assert (await look(pair.client)).client is None
        pair.client._part = part
        pair.client.stopping = True
        await look(pair.client)
    assert seen == {"listening", "connected", "waiting", "connecting", "starting", "stopping"}


async def test_packets_wait_for_no_status_of_many_sessions(tmp_path: Path) -> None:
    """Between a few sessions and the next the loop does what else there is to do; sessions may end meanwhile."""
    async with running(tmp_path) as pair:
        with Crowded(pair) as record:
            turns = 0

            def turn() -> None:
                nonlocal turns
                turns += 1
                handle[0] = pair.server.loop.call_soon(turn)

            handle = [pair.server.loop.call_soon(turn)]
            status = await pair.server.status()
            handle[0].cancel()
            assert turns >= MANY // 20
            assert status.server is not None
            assert len(status.server.sessions) == MANY
            asking = asyncio.create_task(pair.server.status())
            await asyncio.sleep(0)
            state, record.state = record.state, SessionState.ENDED
            status = await asking
            record.state = state
            assert status.server is not None
            assert 0 < len(status.server.sessions) < MANY


async def test_who_asks_often_costs_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as pair:
        for later in (1, 2):
            pair.server.vitals.history.sample(pair.server.loop.time() + later)
        whole, brief = [
            (await pair.server.control("core.status", {"brief": brief}, by="test", write=False))["server"]["sessions"]
            for brief in (False, True)
        ]
        assert whole[0]["ingress"]["history"]
        assert whole[0]["links"][0]["facts"]
        assert not brief[0]["ingress"]["history"]
        assert not brief[0]["links"][0]["facts"]
        assert brief[0]["links"][0]["congestion_window"]
        same = ("id", "principal", "state", "drops", "queue_bytes")
        assert [brief[0][key] for key in same] == [whole[0][key] for key in same]
        # Everybody on the host may ask for a summary: it looks at no session.
        monkeypatch.setattr(pair.server._part, "session_statuses", None)
        assert pair.server.summary().sessions == 1
