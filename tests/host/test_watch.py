"""What makes a client look after its tunnel: events of the kernel, and clocks that have drifted apart.

host ── eth ── neighbour
"""

import asyncio
import struct

import pytest

from vpnrs_core.host import watch
from vpnrs_core.host.netlink import ROUTE_PROTOCOL, Netlink
from vpnrs_core.host.tun import Tun
from vpnrs_core.host.watch import Watch, messages


class Told:
    def __init__(self):
        self.changes, self.tun = [], 0
        self.event = asyncio.Event()

    def changed(self, what):
        self.changes.append(what)
        self.event.set()

    def tun_changed(self):
        self.tun += 1
        self.event.set()

    async def next(self):
        async with asyncio.timeout(10):
            await self.event.wait()
        self.event.clear()


@pytest.mark.netns
async def test_events_of_the_network_are_told_and_our_own_doing_is_not(netns):
    host, neighbour = netns.namespace("host"), netns.namespace("eth")
    netns.connect(host, neighbour, "10.203.1.0/24")
    told = Told()
    with host.entered():
        tun = Tun.open()
        netlink = await Netlink.open()
        index = (await netlink.link(tun.name)).index
        looking = Watch(index, told.changed, told.tun_changed)
    try:
        for command in (
            "ip address add 10.203.2.1/24 dev eth",
            "ip route add default via 10.203.1.2",
            "ip route del default",
            "ip link set eth down",
        ):
            host.run(*command.split())
            await told.next()
            assert set(told.changes) == {"the network has changed"}, command
        assert told.tun == 0
        count = len(told.changes)
        host.run("ip", "link", "set", tun.name, "up")
        await told.next()
        assert told.tun >= 1
        host.run("ip", "address", "add", "10.77.0.1/24", "dev", tun.name)
        host.run("ip", "route", "add", "10.8.0.0/16", "dev", tun.name, "proto", str(ROUTE_PROTOCOL))
        await asyncio.sleep(0.5)  # longer than a change that concerns us would take to be told
        assert told.changes[count:] == []
        host.run("ip", "link", "set", "eth", "up")
        while len(told.changes) == count:
            await told.next()
    finally:
        looking.close()
        await netlink.close()
        tun.close()


@pytest.mark.parametrize("slept", [True, False])
async def test_sleep_shows_in_the_clocks(monkeypatch, slept):
    """CLOCK_BOOTTIME runs on while the machine sleeps, CLOCK_MONOTONIC stands still."""
    told, asleep = Told(), [0.0]
    monkeypatch.setattr(watch, "_TICK", 0.01)
    monkeypatch.setattr(watch, "_asleep", lambda: asleep[0])
    looking = Watch(0, told.changed, told.tun_changed)
    try:
        asleep[0] = 60.0 if slept else 0.5
        await asyncio.sleep(0.2)
    finally:
        looking.close()
    assert told.changes.count("this host has slept") == (1 if slept else 0)


def test_messages_are_taken_apart_and_rubbish_ends_them():
    one = struct.pack("=IHHII", 19, 24, 0, 0, 0) + b"abc\0"
    two = struct.pack("=IHHII", 20, 16, 0, 0, 0) + b"defg"
    assert list(messages(one + two)) == [(24, b"abc"), (16, b"defg")]
    assert list(messages(one + b"\0" * 16)) == [(24, b"abc")]
    assert list(messages(b"\0")) == []
