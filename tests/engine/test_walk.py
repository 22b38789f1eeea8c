"""The walk names the first thing that is wrong, and nothing behind it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from vpnrs_core.engine.status import (
    ClientStatus,
    InstanceStatus,
    LinkStatus,
    PoolStatus,
    ServerStatus,
    SessionStatus,
    Traffic,
    TunStatus,
)
from vpnrs_core.engine.walk import walk
from vpnrs_core.interfaces import Expected, LiveFacts

OWN, SERVER, FAR, OUTSIDE, DNS = map(ip_address, ("10.77.0.2", "10.77.0.1", "10.99.0.5", "203.0.113.7", "10.99.0.53"))
LINK = LinkStatus(remote="203.0.113.7:4433", transport="quic", lane="datagram", rtt_ms=12.0, loss=0.0)
PROBES = Expected(own=[(OWN, 24)], inside=[FAR], outside=[OUTSIDE], echo=[SERVER], dns=[DNS])


def session(**more):
    return SessionStatus(
        **{"id": "s1", "principal": "alice", "state": "active", "mtu": 1280, "age_seconds": 1.0, "links": [LINK]} | more
    )


def client(state="connected", **more):
    return InstanceStatus(
        **{
            "role": "client", "instance": "default", "version": "0", "pid": 1, "uptime_seconds": 1.0, "state": state,
            "transport": "quic", "tun": TunStatus(name="vpnrs0", mtu=1280), "egress": Traffic(packets=1000),
            "client": ClientStatus(server="vpn:4433", session=session()),
        } | more
    )  # fmt: skip


def server(**more):
    status = ServerStatus(
        listen="0.0.0.0:4433", pools=[PoolStatus(prefix="10.77.0.0/24", leased=1, leasable=253)], sessions=[session()]
    ).model_copy(update=more.pop("server", {}))
    return client("listening", role="server", client=None, server=status, **more)


def facts(**more):
    return LiveFacts(
        **{
            "up": True, "mtu": 1280, "addresses": frozenset({OWN}), "ways": {FAR: "vpnrs0", OUTSIDE: "eth0"},
            "forwarding": {4: True, 6: False}, "echoes": {SERVER: 0.01}, "resolvers": {DNS: 0.02},
        } | more
    )  # fmt: skip


def test_a_path_that_holds_is_told_to_its_end():
    found = walk(client(), facts(), PROBES).steps
    assert {step.level for step in found} == {"ok"}
    assert [step.name for step in found] == ["tun", "session", "link", "addresses", "routes", "server", "dns", "drops"]


@pytest.mark.parametrize(
    ("status", "found", "name", "words"),
    [
        (client(), facts(mtu=0), "tun", "no TUN"),
        (client(), facts(up=False), "tun", "is down"),
        (client("waiting", client=ClientStatus(server="vpn:4433", attempts=3, last_error="no answer")), facts(),
         "session", "3 attempts; the last error: no answer"),
        (client(), facts(ways={OUTSIDE: "vpnrs0", FAR: "vpnrs0"}), "link", "leads into vpnrs0"),
        (client(), facts(ways={OUTSIDE: "", FAR: "vpnrs0"}), "link", "no route to the server"),
        (client(), facts(addresses=frozenset()), "addresses", "does not have 10.77.0.2"),
        (client(), facts(ways={OUTSIDE: "eth0", FAR: "eth0"}), "routes", "go by eth0"),
        (client(), facts(ways={OUTSIDE: "eth0", FAR: ""}), "routes", "no route"),
        (client(), facts(echoes={SERVER: None}), "server", "does not answer through the tunnel"),
        (client(), facts(resolvers={DNS: None}), "dns", "no answer"),
        (client(), facts(resolvers={DNS: "Connection refused"}), "dns", "Connection refused"),
    ],
)  # fmt: skip
def test_the_first_thing_that_is_wrong_is_the_last_one_told(status, found, name, words):
    steps = walk(status, found, PROBES).steps
    assert (steps[-1].level, steps[-1].name) == ("error", name)
    assert words in steps[-1].text
    assert [step for step in steps[:-1] if step.level == "error"] == []


def test_what_is_only_bad_does_not_end_the_walk():
    lossy = client(client=ClientStatus(server="s", session=session(links=[LINK.model_copy(update={"loss": 0.2})])))
    steps = walk(lossy, facts(echoes={SERVER: "CAP_NET_RAW is missing"}), PROBES).steps
    assert [(step.name, step.level) for step in steps if step.level != "ok"] == [
        ("link", "warning"),
        ("server", "warning"),
    ]


def test_drops_that_matter_are_named():
    steps = walk(client(drops={"too_big": 500, "multicast": 9000}), facts(), PROBES).steps
    assert (steps[-1].level, steps[-1].name) == ("warning", "drops")
    assert "500 packets were dropped as too_big" in steps[-1].text


SERVERS = Expected(own=[(SERVER, 24)], inside=[OWN], echo=[OWN], forwards=frozenset({4}))


def of_server(**more):
    return facts(
        **{"addresses": frozenset({SERVER}), "ways": {OWN: "vpnrs0"}, "echoes": {OWN: 0.01}, "resolvers": {}} | more
    )


def test_a_servers_path_is_told_to_its_end():
    found = walk(server(), of_server(), SERVERS).steps
    assert {step.level for step in found} == {"ok"}
    names = [step.name for step in found]
    assert names == ["tun", "session", "link", "addresses", "routes", "clients", "clients", "forwarding", "drops"]


@pytest.mark.parametrize(
    ("status", "found", "name", "words"),
    [
        (server(server={"sessions": []}), of_server(), "clients", "none has ever reached 0.0.0.0:4433"),
        (server(server={"sessions": []}, events={"attempt_refused": 4}), of_server(), "clients", "4 attempts"),
        (server(), of_server(forwarding={4: False}), "forwarding", "does not forward IPv4"),
        (server(), of_server(ways={OWN: "eth1"}), "routes", "go by eth1"),
    ],
)
def test_what_is_wrong_at_a_server_is_named(status, found, name, words):
    steps = walk(status, found, SERVERS).steps
    assert (steps[-1].level, steps[-1].name) == ("error", name)
    assert words in steps[-1].text


def test_a_silent_client_and_a_full_pool_are_warnings():
    full = {"pools": [PoolStatus(prefix="10.77.0.0/30", leased=1, leasable=1)]}
    steps = walk(server(server=full), of_server(echoes={OWN: None}), SERVERS).steps
    said = [step.text for step in steps if step.level == "warning"]
    assert len(said) == 2
    assert "pool 10.77.0.0/30 is full" in said[0]
    assert "does not answer a ping" in said[1]
