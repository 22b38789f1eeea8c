"""Beyond the proposal: sources, principals, longer blocks, allow-list, several gateways, a store that fails."""

import asyncio
import json

import pydantic
import pytest
from ratelimit_world import ALICE, HOME, Gateway
from vpnrs_ratelimit.config import RateLimitConfig
from vpnrs_ratelimit.events import AuthBlockedPerPrincipal, AuthBlockedPerSource, AuthRateLimitStore
from vpnrs_ratelimit.sources import names, prefixes

from vpnrs_core.builtin.memory import MemoryStore
from vpnrs_core.errors import ConfigError, PeerError
from vpnrs_core.interfaces import Admit, Attempt, Code, StoreUnavailable
from vpnrs_core.testkit.clock import Clock, on_clock

RULE = {"failures": 3, "window": 60, "block": 60}
ATTEMPT = Attempt("0", "vpnrs/1", HOME, "token", b"mine", False)


@pytest.mark.parametrize(
    ("tier", "from_", "same", "other", "who"),
    [
        ("per_ipv4", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "192.0.2.1"),
        ("per_ipv6_64", "2001:db8:1:2::1", "2001:db8:1:2:ffff::9%eth0", "2001:db8:1:3::1", "2001:db8:1:2::/64"),
        ("per_ipv6_56", "2001:db8:1:200::1", "2001:db8:1:2ff::9", "2001:db8:1:300::1", "2001:db8:1:200::/56"),
    ],
)
async def test_a_source_is_blocked_with_its_prefix(tier, from_, same, other, who):
    g = Gateway(**{tier: RULE})
    for number in range(3):
        await g.attempt(f"bad{number}", source=from_)
    assert (await g.attempt("good", good=True, source=same)).code is Code.BLOCKED
    assert isinstance(await g.attempt("good", good=True, source=other), Admit)
    assert isinstance(await g.attempt("good", resumed=True, source=same), Admit)
    assert g.events(AuthBlockedPerSource)[0].who == who
    assert [b["who"] for b in (await g.ask("unblock", who=same))["unblocked"]] == [who]
    assert isinstance(await g.attempt("good", good=True, source=same), Admit)


def test_who_has_no_address_is_in_no_source_tier():
    assert prefixes("a key of another transport") == {}
    assert names("2001:db8::/48") == names("not/one") == names("10.0.0.0/8") == {}


async def test_a_principal_that_opens_without_end_is_blocked_and_nobody_else():
    g = Gateway(per_principal={"attempts": 3, "window": 60, "block": 30})
    for number in range(3):
        assert isinstance(await g.attempt("mine", good=True, resumed=number == 1), Admit)
    refused = await g.attempt("mine", good=True)
    assert (refused.code, refused.retry_after) == (Code.BLOCKED, 30.0)
    assert g.events(AuthBlockedPerPrincipal)[0].who == "alice"
    assert [b["who"] for b in (await g.ask("unblock", who="alice"))["unblocked"]] == ["alice"]
    assert isinstance(await g.attempt("mine", good=True), Admit)


async def test_each_further_block_is_longer_up_to_the_longest():
    g = Gateway(escalate=2.0, longest_block=3000.0, escalate_memory=100_000.0)
    lasted = []
    for _ in range(4):
        await g.fail(5)
        lasted.append((await g.attempt("bad")).retry_after)
        g.clock.advance(lasted[-1])
    assert lasted == [900.0, 1800.0, 3000.0, 3000.0]
    assert (await g.ask("status"))["blocks"] == []
    g.clock.advance(100_000)
    await g.fail(5)
    assert (await g.attempt("bad")).retry_after == 900.0


async def test_an_allowed_source_is_neither_blocked_nor_counted():
    g = Gateway(allow=["192.0.2.0/24", "2001:db8::7", "::ffff:203.0.113.0/120"], per_ipv4=RULE)
    await g.fail(200)
    assert isinstance(await g.attempt("bad"), Admit)
    assert isinstance(await g.attempt("bad", source="::ffff:192.0.2.9"), Admit)
    assert isinstance(await g.attempt("bad", source="198.51.100.1"), Admit)
    await g.fail(7, source="203.0.113.200")
    assert g.samples()["failed_attempts:token"] == 210
    await g.fail(4, source="198.51.100.1")
    assert (await g.attempt("bad", source="198.51.100.1")).code is Code.BLOCKED
    assert isinstance(await g.attempt("bad"), Admit)


@pytest.mark.parametrize("allow", ["192.0.2.1/24", "somewhere", ""])
def test_an_allowed_source_that_is_none_is_refused_in_the_configuration(allow):
    with pytest.raises(pydantic.ValidationError, match=r"192\.0\.2\.0/24"):
        RateLimitConfig(allow=(allow,))


async def test_gateways_that_share_a_store_count_and_block_as_one():
    clock = Clock()
    store = MemoryStore(clock)
    one, two = Gateway(clock, store, ahead=0.0), Gateway(clock, store, ahead=77_777.0)
    for number in range(5):
        await (one if number % 2 else two).attempt("bad")
    clock.advance(100)
    for g in (one, two):
        refused = await g.attempt("bad")
        assert (refused.code, refused.retry_after) == (Code.BLOCKED, 800.0)
        assert (await g.ask("status"))["active_blocks"] == 1
    await two.ask("unblock", who=b"bad".hex())
    assert isinstance(await one.attempt("bad"), Admit)
    await one.fail(3)
    await two.attempt("bad", good=True)
    await one.fail(3)
    assert isinstance(await one.attempt("bad"), Admit)


async def test_attempts_at_once_begin_one_block():
    g = Gateway(escalate=2.0)
    await asyncio.gather(*(g.attempt("bad") for _ in range(20)))
    assert [b["level"] for b in (await g.ask("status"))["blocks"]] == [1]
    assert g.samples()["blocks_begun:credential"] == 1


async def test_gateways_that_begin_a_block_at_once_raise_its_level_once():
    clock = Clock()
    shared = Broken(MemoryStore(clock))
    shared.fault = "yields"
    gateways = [Gateway(clock, shared, escalate=2.0, per_credential={"failures": 1}) for _ in range(3)]
    for level, seconds in ((1, 900), (2, 1800), (3, 3600)):
        await asyncio.gather(*(g.attempt("bad") for g in gateways))
        value = await shared.get("ratelimit/block/credential/" + b"bad".hex())
        assert json.loads(value.data)["level"] == level
        assert (await gateways[0].attempt("bad")).retry_after == seconds
        clock.advance(seconds)


async def test_what_another_gateway_wrote_unreadably_is_a_block():
    g = Gateway()
    for data in (b"", b"{}", b'{"by": 1, "wall": "x", "until": null, "seconds": 1e999, "level": "a"}', b"\xff"):
        await g.store.put("ratelimit/block/credential/" + b"bad".hex(), data)
        refused = await g.attempt("bad")
        assert (refused.code, refused.retry_after) == (Code.BLOCKED, 900.0)


class Broken:
    """A store that another process has: it fails, or hangs, as long as `fault` is set."""

    def __init__(self, store):
        self._store, self.fault = store, None

    def __getattr__(self, name):
        async def call(*arguments):
            if self.fault == "hangs":
                await asyncio.sleep(3600)
            if self.fault == "yields":
                await asyncio.sleep(0)
            if self.fault == "is slow":
                await asyncio.sleep(1.2)
            if self.fault == "fails":
                raise StoreUnavailable("gone")
            if self.fault == "breaks its contract":
                raise ConnectionError("gone")
            return await getattr(self._store, name)(*arguments)

        return call


@pytest.mark.parametrize("fault", ["fails", "hangs", "breaks its contract"])
@pytest.mark.parametrize("choice", [None, "refuse", "admit"])
@on_clock
async def test_a_store_that_fails_refuses_everyone_unless_told_to_admit(fault, choice):
    clock = Clock()
    broken = Broken(MemoryStore(clock))
    config = {} if choice is None else {"when_store_fails": choice}
    g = Gateway(clock, broken, per_principal={"attempts": 3}, **config)
    broken.fault = fault
    for _ in range(3):
        async with asyncio.timeout(15):
            answer = await g.attempt("mine", good=True)
        if choice == "admit":
            assert isinstance(answer, Admit)
        else:
            assert answer.code is Code.INTERNAL
    [told] = g.events(AuthRateLimitStore)
    assert (told.working, told.attempts) == (False, choice or "refuse")
    broken.fault = None
    assert isinstance(await g.attempt("mine", good=True), Admit)
    assert g.events(AuthRateLimitStore)[1].working
    assert g.samples()["store_failures"] >= 3


@on_clock
async def test_what_one_hook_asks_of_a_slow_store_takes_three_seconds_at_most_however_much_it_is():
    loop = asyncio.get_running_loop()
    broken = Broken(MemoryStore(loop.time))
    g = Gateway(store=broken, when_store_fails="admit", per_principal={"attempts": 3})
    broken.fault = "fails"
    await g.attempt("mine", good=True)
    broken.fault = "is slow"
    for asked in (g.check.before(ATTEMPT), g.check.principal(ATTEMPT, ALICE), g.check.after(ATTEMPT, ALICE, True)):
        began = loop.time()
        await asked
        assert loop.time() - began <= 3.0


async def test_a_failure_that_a_store_breaks_down_at_is_not_let_go_uncounted():
    broken = Broken(MemoryStore(Clock()))
    g = Gateway(store=broken)

    async def add(*_):
        raise ConnectionError("gone")

    broken.add = add
    answers = [await g.attempt("bad") for _ in range(10)]
    assert isinstance(answers[0], Admit)
    assert {answer.code for answer in answers[1:]} == {Code.INTERNAL}


async def test_a_store_that_is_too_full_to_count_refuses_everyone_until_it_can():
    clock = Clock()
    g = Gateway(clock, MemoryStore(clock, max_entries=8), overall={"failures": 0})
    await g.fail(4, "one")
    await g.fail(4, "two")
    assert isinstance(await g.attempt("three"), Admit)  # judged, but this failure could not be counted
    assert [e.working for e in g.events(AuthRateLimitStore)] == [False]
    assert (await g.attempt("good", good=True)).code is Code.INTERNAL
    clock.advance(300)
    assert isinstance(await g.attempt("good", good=True), Admit)
    assert [e.working for e in g.events(AuthRateLimitStore)] == [False, True]


async def test_unblocking_begins_anew_and_names_nobody_who_is_not_blocked():
    g = Gateway(escalate=2.0)
    await g.fail(5, "a")
    await g.fail(5, "b")
    await g.fail(4, "c")
    answer = await g.ask("unblock", who=b"a".hex().upper())
    assert [b["who"] for b in answer["unblocked"]] == [b"a".hex()]
    await g.fail(4, "a")
    assert isinstance(await g.attempt("a"), Admit)
    assert (await g.attempt("a")).retry_after == 900.0  # not the second level
    with pytest.raises(ConfigError) as caught:
        await g.ask("unblock", who="vpnrs_4k7w2m9x_sekret")
    assert "sekret" not in str(caught.value)
    with pytest.raises(ConfigError):
        await g.ask("unblock")
    with pytest.raises(ConfigError):
        await g.ask("unblock", who="x", everyone=True)
    assert len((await g.ask("unblock", everyone=True))["unblocked"]) == 2
    assert (await g.ask("status"))["blocks"] == []


async def test_any_block_can_be_lifted_however_many_there_are():
    g = Gateway(overall={"failures": 0}, per_credential={"failures": 1})
    for number in range(1100):
        await g.fail(1, f"{number:04}")
    assert (await g.ask("status"))["active_blocks"] == 1000
    last = b"1099".hex()
    assert [b["who"] for b in (await g.ask("unblock", who=last))["unblocked"]] == [last]
    answer = await g.ask("unblock", everyone=True)
    assert (len(answer["unblocked"]), answer["lifted"]) == (1000, 1099)
    assert not [key async for key, _ in g.store.scan("ratelimit/", 10_000)]


async def test_everybody_is_let_in_again_by_the_name_global():
    g = Gateway()
    for number in range(100):
        await g.attempt(f"bad{number}")
    assert (await g.attempt("good", good=True)).code is Code.BLOCKED
    assert [b["tier"] for b in (await g.ask("unblock", who="global"))["unblocked"]] == ["global"]
    assert isinstance(await g.attempt("good", good=True), Admit)


async def test_a_principal_may_be_called_global():
    g = Gateway(per_principal={"attempts": 1})
    await g.check.tiers["principal"].count("global")
    assert [b["tier"] for b in (await g.ask("unblock", who="global"))["unblocked"]] == ["principal"]


async def test_questions_to_a_store_that_fails_are_answered_with_the_reason():
    broken = Broken(MemoryStore(Clock()))
    g = Gateway(store=broken)

    async def scan(*_):
        raise StoreUnavailable("gone")
        yield

    broken.scan = scan
    for name, request in (("status", {}), ("unblock", {"everyone": True})):
        with pytest.raises(PeerError, match="gone"):
            await g.ask(name, **request)


@on_clock
async def test_a_question_about_a_store_that_hangs_is_answered_in_time():
    broken = Broken(MemoryStore(Clock()))
    g = Gateway(store=broken)

    async def scan(*_):
        await asyncio.sleep(3600)
        yield

    broken.scan = scan
    async with asyncio.timeout(5):
        with pytest.raises(PeerError, match="no answer in time"):
            await g.ask("status")


async def test_only_reading_is_open_on_the_status_socket():
    g = Gateway()
    assert g.requests["status"].reads_only
    assert not g.requests["unblock"].reads_only
    assert HOME not in repr(await g.ask("status"))
