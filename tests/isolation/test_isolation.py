"""What a plugin's failure costs, and what goes on, in a server and a client that run: the table of docs/plugins.md.

Failures before anything runs (import, table, constructor, hook) are in tests/plugins/test_load.py; those of services,
checks and methods over real devices in tests/netns/test_failing_plugins.py.
"""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vpnrs_core.errors import PluginError
from vpnrs_core.events import PluginFailed, PluginSlow, ServiceRestarted, SessionOpened
from vpnrs_core.plugins.project import on_path, write
from vpnrs_core.testkit.packets import super_udp, udp
from vpnrs_core.testkit.stage_bench import StageBench

HEAD = """
import asyncio, time
import pydantic
from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import *

class Plugin:
    DROP_REASONS = ("known",)
    def __init__(self, config, ctx): self.ctx = ctx
"""
# A stage of each session, with the body of its `process`.
STAGE = """
    @impl
    def vpnrs_register_packet_stages(self): return [Factory(self)]

class Factory:
    NAME, ORDER = "bad", 1
    def __init__(self, plugin): self.plugin, self.seen = plugin, 0
    def bind(self, session, wake_at): return self
    def process(self, direction, batch, out, now):
        for packet in batch:
            self.seen += 1
            {body}
    def close(self, reason): pass
"""
Bad = Callable[[str], None]


@pytest.fixture
def bad(tmp_path: Path) -> Iterator[Bad]:
    """`bad(code)` installs the plugin `bad` for the time of the test."""
    import sys

    site = tmp_path / "bad-site"
    write(site, "vpnrs-bad", "1", {"vpnrs": {"bad": "vpnrs_bad_one:Plugin"}})

    def make(code: str) -> None:
        (site / "vpnrs_bad_one.py").write_text(HEAD + code)

    with on_path(site):
        yield make
    sys.modules.pop("vpnrs_bad_one", None)


def stage(body: str) -> str:
    return STAGE.replace("{body}", textwrap.indent(body, " " * 12).lstrip())


def failures(events: list[Any], plugin: str = "bad") -> list[PluginFailed]:
    return [event for event in events if isinstance(event, PluginFailed) and event.plugin == plugin]


ON = {"server": {"plugins": {"bad": {}}}}


async def carried(pair: Any, *texts: bytes) -> list[bytes]:
    """Which of these, sent up one by one, arrive before one that surely does."""
    mine = pair.addresses[0]
    packets = [udp(mine, "192.0.2.9", text) for text in texts]
    for packet in packets:
        pair.client.far.send(packet)
        await asyncio.sleep(0.01)
    last = udp(mine, "192.0.2.9", b"fine")
    pair.client.far.send(last)
    found: list[bytes] = []
    async with asyncio.timeout(10):
        while last not in found:
            found += pair.server.far.receive()
            await asyncio.sleep(0.002)
    return [packet[28:] for packet in found[:-1]]


async def test_a_stage_that_raises_on_the_first_packet_loses_that_one(bad: Bad, in_process: Any) -> None:
    bad(stage("if self.seen == 1: raise KeyError('first')\nout.forward(packet)"))
    async with in_process(**ON) as pair:
        assert await carried(pair, b"lost", b"next") == [b"next"]
        (failed,) = failures(pair.server.events)
        assert failed.hook == "process"
        assert "KeyError: 'first' (" in failed.error
        assert "vpnrs_bad_one.py:" in failed.error
        assert pair.server.drops.nonzero() == {"stage_error": 1}
        assert (await pair.server.status()).plugins[-1].failures == 1


def test_a_stage_that_raises_on_the_millionth_packet_loses_what_came_with_it() -> None:
    """Super-packets of 64, as many at once as a wake-up reads: 244 batches pass, the one with the millionth is lost."""
    batch = [super_udp("10.0.0.2", "192.0.2.1", bytes(64 * 1000), 1000, sport=number + 1) for number in range(64)]
    whole = sum(packet.segments for packet in batch)

    class Tires:
        NAME, ORDER = "tires", 1
        seen = 0

        def bind(self, session: Any, wake_at: Any) -> Any:
            return self

        def process(self, direction: Any, batch: Any, out: Any, now: float) -> None:
            for packet in batch:
                before, self.seen = self.seen, self.seen + packet.segments
                if before < 1_000_000 <= self.seen:
                    raise OverflowError("a million")
                out.forward(packet)

    tires = Tires()
    bench = StageBench(tires, plugin="bad")
    passed = 0
    while tires.seen < 1_000_000:
        assert not bench.failures
        passed += sum(packet.segments for packet in bench.to_tun())
        bench.pipeline.ingress(bench.a, list(batch), 0.0)
    assert passed == 1_000_000 // whole * whole
    assert bench.to_tun() == []
    assert bench.drops.nonzero() == {"stage_error": whole}
    assert [(plugin, where, str(error)) for plugin, where, error in bench.failures] == [("bad", "process", "a million")]
    bench.pipeline.ingress(bench.a, list(batch), 0.0)
    assert bench.to_tun() == batch
    assert len(bench.failures) == 1


@pytest.mark.parametrize("raised", ["asyncio.CancelledError", "SystemExit", "GeneratorExit"])
async def test_a_stage_that_raises_what_ends_others_loses_its_packet_only(
    bad: Bad, in_process: Any, raised: str
) -> None:
    bad(stage(f"if self.seen == 1: raise {raised}\nout.forward(packet)"))
    async with in_process(**ON) as pair:
        assert await carried(pair, b"lost", b"next") == [b"next"]
        assert [failed.hook for failed in failures(pair.server.events)] == ["process"]
        assert pair.server.drops.nonzero() == {"stage_error": 1}


async def test_a_stage_that_raises_on_a_later_packet_is_not_taken_out(bad: Bad, in_process: Any) -> None:
    """Never unfiltered: it is asked for the next packet again, and its failures stay counted."""
    bad(stage("if self.seen % 3 == 0: raise ValueError('each third')\nout.forward(packet)"))
    async with in_process(**ON) as pair:
        assert await carried(pair, b"1", b"2", b"3", b"4") == [b"1", b"2", b"4"]
        assert pair.server.drops.packets["stage_error"] == 1


async def test_a_stage_that_always_raises_lets_nothing_through_and_fills_no_log(bad: Bad, in_process: Any) -> None:
    bad(stage("raise OSError('always')"))
    async with in_process(**ON) as pair:
        mine = pair.addresses[0]
        for number in range(60):
            pair.client.far.send(udp(mine, "192.0.2.9", bytes((number,))))
            await asyncio.sleep(0.001)
        async with asyncio.timeout(10):
            while pair.server.drops.packets["stage_error"] < 60:  # noqa: ASYNC110  a count has no event
                await asyncio.sleep(0.01)
        assert pair.server.far.receive() == []
        # Five at once and one a second: not one for each packet.
        assert 5 <= len(failures(pair.server.events)) < 20
        assert pair.server.reporter.counts["bad"] >= 20
        assert len(pair.server.sessions()) == 1


@pytest.mark.parametrize(
    ("body", "said", "reason"),
    [
        ("pass", "were not named", "stage_error"),
        ("out.drop(packet, 'bad.unknown')", "'bad.unknown' was not declared", "bad_reason"),
        ("out.forward(packet, Packet.of(b'nonsense'))", "", "stage_error"),
        ("out.forward(3)", "", "stage_error"),
        ("out.drop(packet, 'bad.known')", None, "bad.known"),
    ],
)
async def test_a_stage_that_says_nonsense_costs_its_packets(
    bad: Bad, in_process: Any, body: str, said: str | None, reason: str
) -> None:
    bad(stage(f"if packet.data.endswith(b'fine'): out.forward(packet)\nelse:\n    {body}"))
    async with in_process(**ON) as pair:
        assert await carried(pair, b"bad") == []
        assert pair.server.drops.nonzero() == {reason: 1}
        told = [event for event in pair.server.events if isinstance(event, PluginFailed)]
        assert (said is None) == (not told)
        assert not said or said in told[0].error


async def test_a_stage_that_cannot_be_made_refuses_its_session_only(bad: Bad, in_process: Any) -> None:
    code = stage("out.forward(packet)").replace("return self\n", "1 / 0\n", 1)
    bad(code)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), in_process(**ON):
            raise AssertionError("a session without its stage")


async def slow(instance: Any, pair: Any) -> PluginSlow:
    """What `instance` says of a plugin that each packet makes slow. Packets are sent until it does: on a starved
    machine it may not have been looked at in time."""
    told = asyncio.create_task(instance.until(PluginSlow))
    while not told.done():
        pair.client.far.send(udp(pair.addresses[0], "192.0.2.9", b"slow"))
        await asyncio.sleep(0.01)
    return await told


# What takes its time: blocks (as a request to a database does), or computes.
SLOW = {
    "blocks": "time.sleep(0.2)",
    "computes": "end = time.thread_time() + 0.2\nwhile time.thread_time() < end: pass",
}


@pytest.mark.parametrize("how", SLOW.values(), ids=SLOW)
async def test_a_slow_stage_delays_and_loses_nothing_and_is_named(bad: Bad, in_process: Any, how: str) -> None:
    bad(stage(f"{how}\nout.forward(packet)"))
    async with in_process(**ON) as pair:
        assert await carried(pair, b"1", b"2") == [b"1", b"2"]
        assert pair.server.drops.nonzero() == {}
        told = await slow(pair.server, pair)
        assert (told.plugin, told.what) == ("bad", "Factory.process")
        assert told.seconds >= 0.1
        assert "vpnrs_bad_one.py:" in told.where
        assert (await pair.server.status()).plugins[-1].slow >= 1
        assert not failures(pair.server.events)


async def test_a_service_whose_step_is_slow_is_named(bad: Bad, in_process: Any) -> None:
    bad(
        "    @impl\n    def vpnrs_register_services(self): return [Task()]\n"
        "class Task:\n    NAME = 'task'\n    async def run(self):\n"
        "        while True:\n            await asyncio.sleep(0.2)\n            self.ask()\n"
        "    def ask(self): time.sleep(0.2)\n"
    )
    async with in_process(**ON) as pair:
        told = await pair.server.until(PluginSlow)
        assert (told.plugin, told.what) == ("bad", "Task.run")
        assert await carried(pair, b"1") == [b"1"]


async def test_a_codec_that_is_slow_is_named(bad: Bad, in_process: Any) -> None:
    bad(CODEC.replace("raise RuntimeError('no codec')", "time.sleep(0.2)"))
    async with in_process(server={"plugins": {"bad": {}}}, client={"plugins": {"bad": {}}}) as pair:
        told = await slow(pair.client, pair)
        assert (told.plugin, told.what) == ("bad", "Codec.encode")


async def test_a_service_that_raises_is_started_again_and_harms_nobody(bad: Bad, in_process: Any) -> None:
    bad(
        "    @impl\n    def vpnrs_register_services(self): return [Task()]\n"
        "class Task:\n    NAME = 'task'\n    async def run(self): raise RuntimeError('died')\n"
    )
    async with in_process(**ON) as pair:
        restarted = await pair.server.until(ServiceRestarted)
        assert (restarted.plugin, restarted.service) == ("bad", "task")
        assert restarted.error.startswith("RuntimeError: died (")
        assert "vpnrs_bad_one.py:" in restarted.error
        assert restarted.again_in == 1.0
        assert await carried(pair, b"goes on") == [b"goes on"]


async def test_a_service_that_does_not_end_keeps_no_server_from_stopping(bad: Bad, in_process: Any) -> None:
    bad(
        "    @impl\n    def vpnrs_register_services(self): return [Task()]\n"
        "class Task:\n    NAME = 'task'\n    async def run(self):\n"
        "        end = asyncio.get_running_loop().time() + 1.5\n"
        "        while asyncio.get_running_loop().time() < end:\n            try: await asyncio.sleep(3)\n"
        "            except asyncio.CancelledError: pass\n"
    )
    async with asyncio.timeout(10):
        async with in_process(**ON) as pair:
            assert await carried(pair, b"x") == [b"x"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("raise LookupError('no grant')", "LookupError: no grant"),
        ("return 7", "returned int, not Contribution or Refuse"),
        ("await asyncio.sleep(60)", "took longer than 0.2 s"),
        ("return Contribution(down=Rate(1, 1))", ""),
    ],
)
async def test_a_contributor_that_fails_refuses_the_attempt_only(
    bad: Bad, in_process: Any, monkeypatch: pytest.MonkeyPatch, body: str, error: str
) -> None:
    """Whoever it does not fail for comes in at the same time."""
    monkeypatch.setattr("vpnrs_core.engine.judge.DEADLINE", 0.2)
    bad(
        "    @impl\n    def vpnrs_register_grant_contributors(self): return [Grant()]\n"
        "class Grant:\n    NAME = 'grant'\n    asked = 0\n    async def contribute(self, attempt, principal):\n"
        f"        self.asked += 1\n        if self.asked == 1:\n            {body}\n        return Contribution()\n"
    )
    refused = False
    try:
        async with in_process(**ON) as pair:
            assert (await pair.server.until(SessionOpened)).principal == "alice"
            told = failures(pair.server.events)
            assert error in told[0].error
            assert told[0].hook == "contribute"
            assert await carried(pair, b"x") == [b"x"]
    except Exception as problem:
        refused = "policy" in str(problem)
        if not refused:
            raise
    # What contradicts itself is the policy's refusal, which is final; a failure is tried again.
    assert refused == (error == "")


async def test_a_subscriber_that_does_not_read_misses_events_and_delays_nobody(bad: Bad, in_process: Any) -> None:
    bad(
        "    @impl\n    def vpnrs_register_services(self): return [Task(self.ctx)]\n"
        "class Task:\n    NAME = 'task'\n    def __init__(self, ctx): self.ctx = ctx\n"
        "    async def run(self):\n        events = self.ctx.subscribe(size=1)\n        await asyncio.sleep(60)\n"
    )
    async with in_process(**ON) as pair:
        assert await carried(pair, b"x") == [b"x"]
        assert not failures(pair.server.events)


# A transport's methods are called by the core, a QUIC engine's and a codec's by code that serves all plugins: who reads
# the error must find the plugin all the same.
TRANSPORT = """
    @impl
    def vpnrs_register_transports(self): return [Way()]

class Way:
    NAME, LACKS = "bad", frozenset()
    async def listen(self, where, alpns, on_connection): {listen}
    async def dial(self, where, alpns, *, via=None): {dial}
    async def close(self): pass
    def underlay(self): return []
"""


@pytest.mark.parametrize(
    ("side", "body", "said"),
    [
        (
            "server",
            "raise RuntimeError('no socket')",
            r"^plugin bad: RuntimeError: no socket \(.*vpnrs_bad_one.py:\d+\)$",
        ),
        ("server", "return None", r"^plugin bad: listen of transport 'bad' returned NoneType, not a Listener"),
        (
            "client",
            "raise RuntimeError('no socket')",
            r"^plugin bad: RuntimeError: no socket \(.*vpnrs_bad_one.py:\d+\)$",
        ),
        ("client", "return None", r"^plugin bad: dial of transport 'bad' returned NoneType, not a Connection"),
    ],
)
async def test_a_transport_that_fails_ends_its_side_by_name(
    bad: Bad, in_process: Any, side: str, body: str, said: str
) -> None:
    bad(TRANSPORT.format(listen=body, dial=body))
    with pytest.raises(PluginError, match=said):
        async with in_process(**{side: {"transport": "bad", "plugins": {"bad": {}}}}):
            raise AssertionError("it runs")


ENGINE = """
    @impl
    def vpnrs_register_quic_engines(self): return [Engine()]

class Engine:
    NAME, PREFERENCE = "bad", 1
    def client(self, settings): {body}
    def server(self, settings, original, retry): {body}
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('no QUIC')", r"plugin bad: RuntimeError: no QUIC \(.*vpnrs_bad_one.py:\d+\)"),
        ("return None", r"QUIC engine 'bad': client returned NoneType, which lacks receive, transmit, timer"),
    ],
)
async def test_an_engine_that_fails_ends_a_client_by_name(bad: Bad, in_process: Any, body: str, said: str) -> None:
    bad(ENGINE.format(body=body))
    with pytest.raises(PluginError, match=said):
        async with in_process(client={"quic": {"engine": "bad"}, "plugins": {"bad": {}}}):
            raise AssertionError("it runs")


CODEC = """
    @impl
    def vpnrs_register_datagram_codecs(self): return [Codec()]

class Codec:
    NAME, PREFERENCE = "bad", 1000
    def open(self, *arguments): return self
    def encode(self, packet, max_payload, head=b""): raise RuntimeError('no codec')
    def decode(self, payloads, drop, skip=0): raise RuntimeError('no codec')
"""


async def test_a_codec_that_fails_loses_packets_under_its_plugins_name(bad: Bad, in_process: Any) -> None:
    bad(CODEC)
    async with in_process(server={"plugins": {"bad": {}}}, client={"plugins": {"bad": {}}}) as pair:
        pair.client.far.send(udp(pair.addresses[0], "192.0.2.9", b"lost"))
        failed = await pair.client.until(PluginFailed)
        assert failed.plugin == "bad"
        assert "RuntimeError: no codec (" in failed.error
        assert {row.name: row.failures for row in (await pair.client.status()).plugins}["bad"] == 1
        assert pair.client.drops.nonzero() == {"plugin_error": 1}


async def test_a_broken_plugin_refuses_the_start_before_the_host_is_touched(bad: Bad, in_process: Any) -> None:
    bad("    @impl\n    def vpnrs_declare_host_needs(self): raise RuntimeError('needs')\n")
    with pytest.raises(PluginError, match=r"plugin bad: hook: vpnrs_declare_host_needs raised RuntimeError: needs"):
        async with in_process(**ON):
            pass
