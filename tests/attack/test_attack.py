"""Every attack, one after the other, against one running server while a good client transfers a file.

`python -m tests.attack` does the same by hand, and prints what the server counted; names choose attacks."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.attack.cases import CASES
from tests.attack.field import Field
from tests.netns.stranger import stranger
from vpnrs_core.testkit.tunnel import TunnelNet

pytestmark = pytest.mark.netns


async def test_who_attacks_harms_only_itself_and_is_seen_in_status_by_reason(tunnel: Callable[..., TunnelNet]) -> None:
    field = Field(tunnel(clients=2))
    failed: list[Exception] = []
    for case in CASES:
        try:
            async with stranger(field.net, 1) as one:
                await case(field, one)
            field.is_well()
        except Exception as error:
            error.add_note(f"in {case.__name__}")
            failed.append(error)
    try:
        field.transfer.finish()
    except AssertionError as error:
        failed.append(error)
    if failed:
        raise ExceptionGroup("attacks that did harm, or were not counted", failed)
    assert field.transfer.bytes > 5_000_000
    told(field)
    field.is_clean()


def told(field: Field) -> None:
    status = field.status()
    door = status["server"]["door"]
    assert {"source", "bad_offload", "malformed", "unknown_context"} <= set(status["drops"])
    assert {"retry", "malformed", "too_small", "unknown_connection", "version_negotiation"} <= set(door)
    assert door["never_authenticated"] > 10
    told = json.loads(field.net.vpnrs("ratelimit", "status", "--json", "--instance", "server"))
    assert told["figures"]["failed_attempts"] >= 20
    assert told["figures"]["refused_attempts"] >= 3
    assert told["figures"]["resumes_let_past"] >= 1
    assert {block["tier"] for block in told["blocks"]} >= {"credential"}
