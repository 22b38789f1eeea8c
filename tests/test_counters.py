"""Counters: closed reasons and labels, one value for every reader."""

import pytest

from vpnrs_core.counters import CORE_REASONS, DropCounts, FlowCounters, Metric, Registry, SessionDrops


def test_each_core_reason_has_its_line():
    assert all(help and "\n" not in help for help in CORE_REASONS.values())
    assert set(DropCounts().packets) == set(CORE_REASONS)


def test_drops_are_counted_in_packets_and_bytes():
    drops = DropCounts()
    drops.count("source", 45, 60_000)
    drops.count("source")
    assert (drops.packets["source"], drops.bytes["source"]) == (46, 60_000)
    assert (drops.total(), drops.nonzero()) == (46, {"source": 46})


def test_plugin_reasons_bear_the_plugins_name():
    drops = DropCounts()
    assert drops.declare("nat64", "no_binding", "nobody asked for it") == "nat64.no_binding"
    drops.count("nat64.no_binding", 2, 100)
    found = {(s.name, s.labels["reason"]): s for s in drops.samples()}
    sample = found["vpnrs_dropped_packets", "nat64.no_binding"]
    assert (sample.value, sample.help, sample.kind) == (2, "nobody asked for it", "counter")
    assert found["vpnrs_dropped_bytes", "nat64.no_binding"].value == 100


def test_undeclared_reasons_are_bad_reason_and_told_once():
    told = []
    drops = DropCounts(told.append)
    for _ in range(3):
        drops.count("made.up", 1, 10)
    assert drops.nonzero() == {"bad_reason": 3}
    assert told == ["made.up"]
    for number in range(1000):
        drops.count(f"made.up{number}")
    assert len(told) == 100


@pytest.mark.parametrize("reason", ["", "Upper", "with space", "9first", "dot.ted"])
def test_bad_reason_names_are_refused(reason):
    with pytest.raises(ValueError, match="letter first"):
        DropCounts().declare("p", reason)


def test_the_set_of_reasons_closes():
    drops = DropCounts()
    drops.declare("p", "one")
    with pytest.raises(ValueError, match="twice"):
        drops.declare("p", "one")
    drops.close()
    with pytest.raises(ValueError, match="after loading"):
        drops.declare("p", "two")


def test_flow_counters_add_up():
    total, one = FlowCounters(), FlowCounters()
    one.ingress_packets, one.ingress_bytes, one.egress_packets, one.egress_bytes = 1, 2, 3, 4
    total.add(one)
    total.add(one)
    assert total.as_dict() == {"ingress_packets": 2, "ingress_bytes": 4, "egress_packets": 6, "egress_bytes": 8}


def test_counters_and_gauges_of_plugins():
    registry = Registry()
    failures = registry.counter("rate-limit", "failures", "failed attempts", ["method"])
    active = registry.gauge("rate-limit", "blocks", "active blocks")
    failures.add(2, "token")
    failures.add(1, "key")
    active.set(7)
    active.add(-2)
    registry.close()
    found = {(s.name, s.labels.get("method")): (s.kind, s.value) for s in registry.samples()}
    assert found == {
        ("vpnrs_rate_limit_failures", "token"): ("counter", 2),
        ("vpnrs_rate_limit_failures", "key"): ("counter", 1),
        ("vpnrs_rate_limit_blocks", None): ("gauge", 5),
    }


def test_a_counter_without_labels_exists_from_the_start():
    registry = Registry()
    registry.counter("p", "seen", "seen")
    assert [(s.name, s.value) for s in registry.samples()] == [("vpnrs_p_seen", 0)]


def test_misused_metrics_say_so():
    registry = Registry()
    counter = registry.counter("p", "n", "help", ["a", "b"])
    with pytest.raises(ValueError, match=r"has the labels \['a', 'b'\]"):
        counter.add(1, "only one")
    with pytest.raises(ValueError, match="cannot go down"):
        counter.add(-1, "x", "y")
    with pytest.raises(ValueError, match="twice"):
        registry.gauge("p", "n", "help")
    with pytest.raises(ValueError, match="label twice"):
        registry.counter("p", "m", "help", ["a", "a"])
    with pytest.raises(ValueError, match="letter first"):
        registry.counter("p", "Bad-Name", "help")
    registry.close()
    with pytest.raises(ValueError, match="after loading"):
        registry.counter("p", "late", "help")


def test_label_values_are_bounded():
    counter = Registry().counter("p", "n", "help", ["who"])
    for number in range(2 * Metric.MAX_SERIES):
        counter.add(1, str(number))
    assert len(list(counter.samples())) == Metric.MAX_SERIES + 1
    assert counter.value("other") == Metric.MAX_SERIES


def test_sources_are_read_when_asked():
    drops = DropCounts()
    registry = Registry()
    registry.source(drops.samples)
    drops.count("source")
    values = {s.labels["reason"]: s.value for s in registry.samples() if s.name == "vpnrs_dropped_packets"}
    assert values["source"] == 1


def test_what_a_session_loses_is_its_own_and_the_instances():
    instance = DropCounts()
    one, other = SessionDrops(instance), SessionDrops(instance)
    one.count("source", 2, 100)
    one.count("never declared")
    other.count("source", 1, 50)
    assert one.nonzero() == {"source": 2, "bad_reason": 1}
    assert other.nonzero() == {"source": 1}
    assert instance.nonzero() == {"source": 3, "bad_reason": 1}
    assert instance.bytes["source"] == 150
    assert one.packets is instance.packets


def test_a_histogram_counts_what_is_not_above_each_bound():
    registry = Registry()
    waits = registry.histogram("p", "wait_seconds", "how long", [0.1, 1.0])
    for value in (0.1, 0.5, 3.0):
        waits.observe(value)
    (sample,) = registry.samples()
    assert (sample.kind, sample.unit, sample.value) == ("histogram", "seconds", pytest.approx(3.6))
    assert sample.buckets == ((0.1, 1), (1.0, 2), (float("inf"), 3))
    with pytest.raises(ValueError, match="must ascend"):
        registry.histogram("p", "other_seconds", "help", [1.0, 0.1])


def test_a_unit_is_the_end_of_the_name():
    with pytest.raises(ValueError, match="must end so"):
        Registry().gauge("p", "queue", "help", unit="bytes")
    assert Registry().gauge("p", "queue_bytes", "help", unit="bytes").name == "vpnrs_p_queue_bytes"


def test_two_metrics_never_have_the_same_series():
    registry = Registry()
    registry.counter("p", "requests", "")
    registry.histogram("p", "wait_seconds", "", [1.0])
    for declare in (
        lambda: registry.counter("p", "requests_total", ""),
        lambda: registry.gauge("p", "requests_total", ""),
        lambda: registry.gauge("p", "wait_seconds_count", ""),
        lambda: registry.counter("p", "wait_seconds_bucket", ""),
    ):
        with pytest.raises(ValueError, match="twice"):
            declare()
    assert registry.counter("p", "answers_total", "").name == "vpnrs_p_answers"


def test_what_no_reader_could_write_down_is_refused_where_it_is_said():
    registry = Registry()
    with pytest.raises(TypeError, match="label values are text, got 404"):
        registry.counter("p", "answers", "", ["code"]).add(1, 404)
    with pytest.raises(TypeError, match="is a number, got '7'"):
        registry.gauge("p", "size", "").set("7")
