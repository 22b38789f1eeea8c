"""`vpnrs ratelimit` over real local sockets, answered by the plugin's own handlers."""

import asyncio
import functools
import json
import re

import pytest
from click.testing import CliRunner
from ratelimit_world import HOME, Gateway
from vpnrs_ratelimit import cli
from vpnrs_ratelimit.events import AuthBlockedGlobal
from vpnrs_ratelimit.limit import short_name

from vpnrs_core.cli import cli as root
from vpnrs_core.engine.local import LocalSockets
from vpnrs_core.interfaces import Attempt, Principal

BAD = b"bad".hex()
ATTEMPT = Attempt("0", "vpnrs/1", HOME, "token", b"mine", False)


@pytest.fixture
async def served(tmp_path, monkeypatch):
    """→ (the gateway, a function that runs the command)."""
    monkeypatch.setenv("VPNRS_RUN_DIR", str(tmp_path))
    (tmp_path / "default").mkdir()
    g = Gateway(per_ipv4={"failures": 8, "window": 60, "block": 60})
    await g.fail(6)
    sockets = LocalSockets(tmp_path / "default", {f"ratelimit.{name}": r for name, r in g.requests.items()})
    await sockets.start()

    async def run(*arguments):
        # With the settings that it has below `vpnrs`.
        invoke = functools.partial(CliRunner().invoke, cli.ratelimit, arguments, **root.context_settings)
        return await asyncio.to_thread(invoke)

    yield g, run
    await sockets.close()


async def test_status_shows_who_is_blocked_and_what_was_counted(served):
    _, run = served
    text = (await run("status")).output
    assert "credential: 5 within 300 s block for 900 s, tracked: 1" in text
    assert f"credential  {BAD}  900.0         1" in text
    assert f"{BAD}       5" in text
    assert "failed attempts 5, refused attempts 1, blocks begun 1" in text
    told = json.loads((await run("status", "--json")).output)
    assert [block["who"] for block in told["blocks"]] == [BAD]
    assert [tier["tier"] for tier in told["tiers"]] == ["credential", "global", "ipv4"]


async def test_unblock_lets_in_again(served):
    g, run = served
    done = await run("unblock", BAD)
    assert done.output == f"Unblocked credential {BAD}, 900 s before its time.\n"
    assert not await g.is_blocked("bad")
    told = json.loads((await run("unblock", "--all", "--json")).output)
    assert told == {"unblocked": [], "lifted": 0}
    assert "no block is active" in (await run("status")).output


async def test_the_block_of_all_is_lifted_by_the_name_that_status_shows(served):
    g, run = served
    for number in range(100):
        await g.attempt(f"bad{number}", source=f"198.51.100.{number}")
    told = json.loads((await run("status", "--json")).output)
    [who] = [block["who"] for block in told["blocks"] if block["tier"] == "global"]
    assert re.search(rf"^global +{who} ", (await run("status")).output, re.MULTILINE)
    assert {e.who for e in g.events(AuthBlockedGlobal)} == {who}
    assert (await run("unblock", who)).output == f"Unblocked {who}, 120 s before its time.\n"
    assert "global" not in [block["tier"] for block in json.loads((await run("status", "--json")).output)["blocks"]]


async def test_status_answers_however_many_are_blocked_and_however_long_their_names_are(served):
    g, run = served
    principal = Gateway(g.clock, g.store, per_principal={"attempts": 1, "window": 9999, "block": 9999}).check
    for number in range(1000):
        await principal.principal(ATTEMPT, Principal(f"{number:04}" + "\U0001f511" * 252))
    longest = "\U0001f511" * 300_000
    await principal.principal(ATTEMPT, Principal(longest))
    g.check.tiers["principal"] = principal.tiers["principal"]
    done = await run("status", "--json")
    told = json.loads(done.output)
    assert (told["active_blocks"], len(told["blocks"])) == (1001, 1000)
    assert max(len(block["who"]) for block in told["blocks"]) == 256
    assert "\nand 1 more\n" in (await run("status")).output
    assert "Unblocked principal" in (await run("unblock", short_name(longest))).output
    answer = json.loads((await run("unblock", "--all", "--json")).output)
    assert (len(answer["unblocked"]), answer["lifted"]) == (1000, 1001)


async def test_unblock_says_what_is_wrong_and_repeats_no_credential(served):
    _, run = served
    for arguments in ((), ("x", "--all"), ("vpnrs_4k7w2m9x_sekret",)):
        done = await run("unblock", *arguments)
        assert "ratelimit status" in str(done.exception)
        assert "sekret" not in f"{done.output}{done.exception}"
