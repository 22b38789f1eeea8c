"""Samples as OpenMetrics: what comes out is read back by prometheus_client's strict parser and by promtool."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_kit import promtool
from vpnrs_metrics.exposition import Exposition

from vpnrs_core.counters import DropCounts, HistogramMetric
from vpnrs_core.interfaces import Sample
from vpnrs_core.testkit.context import KitContext

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
LINK = {"rtt_ms": 12.5, "rtt_variation_ms": None, "loss": 0.01, "congestion_window": 15_000}


def session(number, principal, links=(LINK,), drops=None):
    return {
        "id": f"s{number}",
        "principal": principal,
        "state": "active" if links else "parked",
        "age_seconds": 5.0,
        "queue_bytes": 0,
        "ingress": {"packets": 3, "bytes": 4500},
        "egress": {"packets": 1, "bytes": 40},
        "drops": drops or {},
        "links": list(links),
    }


class World(KitContext):
    """A context with the core's own kinds of samples."""

    def __init__(self, sessions=()):
        super().__init__("metrics", None, Clocked())
        self.drops = DropCounts()
        self.drops.declare("nat64", "no_binding", "nobody asked for it")
        self.rtt = HistogramMetric("vpnrs_rtt_seconds", "round trips", [0.01, 0.1])
        for source in (self.drops.samples, self.rtt.samples, self.own):
            self.counters.source(source)
        self.show(sessions)

    def own(self):
        labels = {"instance_name": "office", "role": "server", "version": "0.1.0", "transport": "quic"}
        yield Sample("vpnrs_instance", "info", "", "what runs", labels, 1)
        yield Sample("vpnrs_ingress_bytes", "counter", "bytes", "moved", {}, 7)
        yield Sample("vpnrs_pool_leased", "gauge", "", "in use", {"pool": "10.77.0.0/24"}, 2)

    def show(self, sessions):
        self.answers["core.status"] = {"server": {"sessions": list(sessions)}, "client": None}


class Clocked:
    def __call__(self):
        return 0.0


async def scrape(world, exposition=None, **options):
    exposition = exposition or Exposition(world, **{"sessions": True, "max_sessions": 10, **options})
    body, content_type = await exposition.text(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    found = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return body.decode(), found


async def test_every_kind_of_sample_is_sound_openmetrics():
    world = World()
    world.drops.count("nat64.no_binding", 2, 100)
    for rtt in (0.005, 0.05, 7.0):
        world.rtt.observe(rtt)
    text, found = await scrape(world)
    assert found["vpnrs_dropped_packets_total", (("reason", "nat64.no_binding"),)] == 2
    assert found["vpnrs_ingress_bytes_total", ()] == 7
    assert found["vpnrs_pool_leased", (("pool", "10.77.0.0/24"),)] == 2
    buckets = [found["vpnrs_rtt_seconds_bucket", (("le", bound),)] for bound in ("0.01", "0.1", "+Inf")]
    assert buckets == [1, 2, 3]
    assert found["vpnrs_rtt_seconds_count", ()] == 3
    assert any(name == "vpnrs_instance_info" for name, _ in found)
    assert text.rstrip().endswith("# EOF")
    assert "# UNIT vpnrs_ingress_bytes bytes" in text


async def test_names_are_ours_and_units_are_base_units():
    text, _ = await scrape(World([session(1, "alice")]))
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    for name in families:
        assert name.startswith(("vpnrs_", "process_"))
        assert not name.endswith(("_ms", "_milliseconds", "_kib", "_mbit", "_percent"))


async def test_promtool_finds_nothing_to_say():
    exposition = Exposition(World([session(1, "alice", drops={"source": 2})]), True, 10)
    body, _ = await exposition.text("text/plain")
    checked = promtool("check", "metrics", stdin=body.decode())
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


async def test_a_sessions_series_are_there_while_it_is():
    world = World([session(1, "alice", drops={"source": 2}), session(2, "bob", links=())])
    exposition = Exposition(world, True, 10)
    _, found = await scrape(world, exposition)
    alice, bob = (("principal", "alice"), ("session", "s1")), (("principal", "bob"), ("session", "s2"))
    assert found["vpnrs_session_ingress_bytes_total", alice] == 4500
    assert found["vpnrs_session_rtt_seconds", alice] == pytest.approx(0.0125)
    assert ("vpnrs_session_rtt_variation_seconds", alice) not in found
    assert (found["vpnrs_session_active", alice], found["vpnrs_session_active", bob]) == (1, 0)
    assert ("vpnrs_session_rtt_seconds", bob) not in found
    reason = (("principal", "alice"), ("reason", "source"), ("session", "s1"))
    assert found["vpnrs_session_dropped_packets_total", reason] == 2
    world.show([session(2, "bob")])
    text, _ = await scrape(world, exposition)
    assert "alice" not in text
    assert 's1"' not in text


async def test_sessions_are_not_shown_unless_that_is_asked_for():
    text, _ = await scrape(World([session(1, "alice")]), sessions=False)
    assert "alice" not in text
    assert "vpnrs_session_" not in text


async def test_the_number_of_sessions_shown_is_bounded():
    text, found = await scrape(World([session(n, f"p{n}") for n in range(5)]), max_sessions=3)
    assert found["vpnrs_metrics_sessions_hidden", ()] == 2
    assert "p2" in text
    assert "p3" not in text


async def test_a_principals_name_cannot_break_the_text():
    name = 'a"\n# TYPE x counter\\'
    _, found = await scrape(World([session(1, name)]))
    assert found["vpnrs_session_active", (("principal", name), ("session", "s1"))] == 1


async def test_a_plugin_that_uses_a_name_of_the_core_costs_nobody_the_scrape():
    """Plugins called `session`, `pool` and `ingress`, whose metrics are of another kind or have other labels."""
    world = World([session(1, "alice")])
    world.counters.gauge("session", "active", "mine").set(7)
    world.counters.counter("pool", "leased", "mine").add(7)
    world.counters.gauge("ingress", "bytes", "mine", ["way"]).set(7, "up")
    world.counters.counter("mine", "sound", "mine").add(7)
    text, found = await scrape(world)
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    assert found["vpnrs_pool_leased", (("pool", "10.77.0.0/24"),)] == 2
    assert found["vpnrs_ingress_bytes_total", ()] == 7
    assert found["vpnrs_mine_sound_total", ()] == 7


async def test_text_that_utf_8_cannot_say_costs_nobody_the_scrape():
    world = World([session(1, "eve\udcff"), session(2, "alice")])
    world.counters.counter("p", "seen", "", ["who"]).add(1, "caf\u00e9\ud800")
    _, found = await scrape(world)
    assert found["vpnrs_session_active", (("principal", "eve?"), ("session", "s1"))] == 1
    assert found["vpnrs_session_active", (("principal", "alice"), ("session", "s2"))] == 1
    assert found["vpnrs_p_seen_total", (("who", "caf\u00e9?"),)] == 1


async def test_a_name_of_a_thousand_characters_is_a_label_like_another():
    name = "n\u00e4 " * 333
    _, found = await scrape(World([session(1, name)]))
    assert found["vpnrs_session_active", (("principal", name), ("session", "s1"))] == 1
