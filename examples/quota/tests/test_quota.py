"""Bytes, speeds, sessions and expiry of principals; and the contracts of all that the plugin registers."""

import asyncio
from dataclasses import replace

import pytest

from vpnrs_core.errors import ConfigError
from vpnrs_core.events import SessionClosed
from vpnrs_core.interfaces import Code, Principal, Rate, Refuse
from vpnrs_core.testkit.packets import super_tcp, udp
from vpnrs_core.testkit.play import play
from vpnrs_core.testkit.stage_bench import KitSession
from vpnrs_core.testkit.suites import CommandSuite, GrantSuite, ServiceSuite, StageSuite
from vpnrs_core.testkit.suites.grant import ATTEMPT

UP = udp("10.0.0.2", "192.0.2.1", bytes(72))  # 100 bytes


class TestStage(StageSuite):
    plugin = "quota"
    table = {"default": {"bytes": 20_000}}


class TestGrant(GrantSuite):
    plugin = "quota"
    table = {"default": {"down": 10_000_000, "up": 1000, "bytes": 10}}


class TestService(ServiceSuite):
    plugin = "quota"
    table = {"save_interval": 0.05}


class TestShow(CommandSuite):
    plugin = "quota"
    name = "show"


class TestReset(CommandSuite):
    plugin = "quota"
    name = "reset"
    request = {"name": "alice"}


def contribute(loaded, name="alice", **attempt):
    return asyncio.run(loaded.one("grant").contribute(replace(ATTEMPT, **attempt), Principal(name)))


def test_bytes_are_counted_until_they_are_used_up(load_plugin):
    session = KitSession()
    loaded = load_plugin("quota", {"principals": {"alice": {"bytes": 250}}})
    trace = play(loaded, [UP] * 4, session=session)
    assert len(trace.forwarded) == 2
    assert trace.dropped == {"quota.used_up": 2}
    (refuse,) = session.ended
    assert (refuse.code, refuse.retry_after) == (Code.POLICY, None)
    assert contribute(loaded).code is Code.POLICY
    assert not isinstance(contribute(loaded, "bob"), Refuse)


def test_a_super_packet_counts_as_what_it_is_on_a_wire(load_plugin):
    loaded = load_plugin("quota", {"default": {"bytes": 3300}})
    whole = super_tcp("10.0.0.2", "192.0.2.1", bytes(3000), 1000)
    assert len(play(loaded, [whole, whole]).forwarded) == 1


def test_bytes_begin_again_after_the_period(load_plugin, clock):
    loaded = load_plugin("quota", {"default": {"bytes": 150, "period": 60}})
    session = KitSession()
    play(loaded, [UP, UP], session=session)
    assert (session.ended[0].code, session.ended[0].retry_after) == (Code.BLOCKED, 60)
    clock.now = 30
    asyncio.run(loaded.one("service").save())
    assert contribute(loaded).retry_after == 30
    clock.now = 91
    assert not isinstance(contribute(loaded), Refuse)


def test_speed_is_shared_out_among_the_sessions(load_plugin):
    loaded = load_plugin("quota", {"default": {"down": 80_000_000, "up": 1000, "sessions": 2}})
    granted = contribute(loaded)
    assert granted.down == Rate(40_000_000, 500_000)
    assert granted.up == Rate(500, 65_536)
    loaded.context.open_sessions += [KitSession("1"), KitSession("2")]
    refused = contribute(loaded)
    assert (refused.code, refused.retry_after) == (Code.SERVER_FULL, 10)
    assert not isinstance(contribute(loaded, resumed=True), Refuse)


def test_who_has_expired_is_refused_and_who_will_is_granted_until_then(load_plugin):
    table = {"principals": {"old": {"expires": "2020-01-01T00:00:00Z"}, "new": {"expires": "2100-01-01T00:00:00Z"}}}
    loaded = load_plugin("quota", table)
    assert contribute(loaded, "old").code is Code.POLICY
    assert contribute(loaded, "new").expires == 4_102_444_800


def test_a_date_without_a_zone_is_told(load_plugin):
    with pytest.raises(ConfigError, match="needs a time zone"):
        load_plugin("quota", {"default": {"expires": "2100-01-01T00:00:00"}})


def test_what_another_server_counted_counts(load_plugin):
    loaded = load_plugin("quota", {"default": {"bytes": 1000}})

    async def story():
        await loaded.context.store.increment("used/alice", 900, 1e9)
        assert not isinstance(await loaded.one("grant").contribute(ATTEMPT, Principal("alice")), Refuse)
        assert len(play(loaded, [UP, UP]).forwarded) == 1
        await loaded.one("service").save()
        answer = await loaded.one("command", "show").handler(
            loaded.one("command", "show").model.model_validate({"name": "alice"})
        )
        assert [(row.used, row.left) for row in answer.accounts] == [(1000, 0)]

    asyncio.run(story())


def test_a_real_session_is_ended_and_not_let_in_again(in_process):
    async def story():
        async with in_process(server={"plugins": {"quota": {"default": {"bytes": 250}}}}) as pair:
            mine = pair.addresses[0]
            packet = udp(mine, "192.0.2.1", bytes(72))
            assert await pair.up(packet, packet) == [packet, packet]
            pair.client.far.send(packet)
            closed = await pair.server.until(SessionClosed)
            assert closed.reason.startswith("policy")

    with pytest.raises(Exception, match="policy"):  # for the client the refusal is final
        asyncio.run(story())
