"""What a running server tells, and how `vpnrs nat64` shows it."""

import json

import pytest
from click.testing import CliRunner
from nat64_bench import HOST, Bench
from vpnrs_nat64 import cli

from vpnrs_core.testkit import packets


@pytest.fixture
async def answers():
    """The answers of a bench with three flows, by name of the request, as the local sockets would give them."""
    bench = Bench(static=[{"protocol": "udp", "port": 5353, "to": "[fd00::9]:53"}])
    bench.connect()
    bench.send(packets.udp("fd00::2", bench.far(), b"x", sport=40002))
    bench.send(packets.echo("fd00::3", bench.far(), ident=7), peer=bench.b)
    bench.ctx.clock = bench.now + 10

    async def ask(name, **request):
        handler = next(r for r in bench.plugin.vpnrs_register_control() if f"nat64.{r.name}" == name)
        assert handler.reads_only
        return (await handler.handler(handler.model(**request))).model_dump(mode="json")

    return ask


async def test_bindings(answers):
    got = await answers("nat64.bindings")
    assert got["total"] == 4
    rows = {(row["protocol"], row["outer"]): row for row in got["bindings"]}
    assert rows["tcp", "10.0.0.254:40000"]["inner"] == "[fd00::2]:40000"
    assert rows["udp", "10.0.0.254:40002"]["principal"] == "principal of a"
    assert rows["icmp", "10.0.0.254:7"]["session"] == "b"
    static = rows["udp", "10.0.0.254:5353"]
    assert (static["static"], static["session"], static["sessions"]) == (True, "", 0)


async def test_sessions_and_the_choice_among_them(answers):
    got = await answers("nat64.sessions")
    assert got["total"] == len(got["sessions"]) == 3
    tcp = got["sessions"][0]
    assert (tcp["remote"], tcp["state"], tcp["expires_in"]) == (f"{HOST}:80", "established", 7190.0)
    assert [row["protocol"] for row in (await answers("nat64.sessions", session="b"))["sessions"]] == ["icmp"]
    assert [row["protocol"] for row in (await answers("nat64.sessions", protocol="udp"))["sessions"]] == ["udp"]
    assert (await answers("nat64.sessions", session="nobody"))["sessions"] == []


@pytest.mark.parametrize("what", ["bindings", "sessions"])
@pytest.mark.parametrize("chosen", [{}, {"session": "a"}, {"protocol": "udp"}])
async def test_page_after_page_shows_each_once(answers, what, chosen):
    everything = (await answers(f"nat64.{what}", **chosen))[what]
    assert everything
    skip, rows = 0, []
    while skip is not None:
        page = await answers(f"nat64.{what}", **chosen, skip=skip, limit=1)
        assert len(page[what]) <= 1
        rows += page[what]
        skip = page["next"]
    assert rows == everything


async def test_stats(answers):
    got = await answers("nat64.stats")
    assert got["bindings"] == {"tcp": 1, "udp": 2, "icmp": 1}
    assert got["sessions"] == {"tcp": 1, "udp": 1, "icmp": 1}
    assert got["created"] == {"tcp": 1, "udp": 1, "icmp": 1}
    assert got["sources"] == [{"address": "10.0.0.254", "used": {"tcp": 1, "udp": 2, "icmp": 1}}]
    assert (got["prefix"], got["clients"]) == ("64:ff9b:1::/96", 2)


class Client:
    """Stands for engine.local_client.LocalClient; its answers were made by the real handlers."""

    given = {}

    def __init__(self, instance):
        self.instance = instance

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, name, /, **request):
        answer = json.loads(json.dumps(self.given[name]))
        if "skip" in request:  # as the handler, which other tests hold to it
            what, end = name.partition(".")[2], request["skip"] + request["limit"]
            answer["next"] = end if len(answer[what]) >= end else None
            answer[what] = answer[what][request["skip"] : end]
        return answer


@pytest.fixture
async def shown(answers, monkeypatch):
    Client.given = {f"nat64.{name}": await answers(f"nat64.{name}") for name in ("bindings", "sessions", "stats")}
    Client.given["core.status"] = {"drops": {"source": 3, "nat64.no_binding": 5}}
    monkeypatch.setattr(cli, "LocalClient", Client)

    def run(*arguments):
        done = CliRunner().invoke(cli.nat64, [*arguments, "--instance", "server"])
        assert done.exit_code == 0, done.output
        return done.output

    return run


async def test_tables(shown):
    bindings = shown("bindings").splitlines()
    assert bindings[0].split() == ["PROTOCOL", "INNER", "OUTER", "PRINCIPAL", "SESSIONS"]
    assert bindings[1].split()[:3] == ["tcp", "[fd00::2]:40000", "10.0.0.254:40000"]
    assert bindings[-1] == "4 of 4 bindings"
    assert "established" in shown("sessions")
    stats = shown("stats")
    assert "source 10.0.0.254: ports in use: 1 tcp, 2 udp, 1 icmp" in stats
    assert "dropped: 5 nat64.no_binding" in stats
    assert "source\n" not in stats


async def test_json(shown, monkeypatch):
    assert json.loads(shown("bindings", "--json"))["total"] == 4
    assert len(json.loads(shown("sessions", "--json"))["sessions"]) == 3
    assert len(json.loads(shown("sessions", "--json", "--limit", "2"))["sessions"]) == 2
    monkeypatch.setattr(cli, "PAGE", 2)
    whole = Client.given["nat64.bindings"]
    assert json.loads(shown("bindings", "--json")) == {"total": whole["total"], "bindings": whole["bindings"]}
    assert json.loads(shown("stats", "--json"))["drops"] == {"nat64.no_binding": 5}
