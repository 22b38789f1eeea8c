"""The NAT64's figures: ratios are taken turn by turn, and every part has its table."""

import pytest
from rich.console import Console

pytest.importorskip("vpnrs_nat64")

from bench import nat64, nat64_state
from bench.nat64_path import NAT64, PLAIN, Stream
from bench.nat64_translator import TO_V4, TO_V6, Cost


def turn(plain, translated):
    return [
        Stream(who, way, mbit, 1000 / mbit)
        for way in ("up", "down")
        for who, mbit in ((PLAIN, plain), (NAT64, translated))
    ]


def shown(table):
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_ratios_are_medians_of_each_turns_own():
    found = nat64.summary([turn(100.0, 90.0), turn(1000.0, 950.0), turn(200.0, 190.0)])
    for way in ("up", "down"):
        assert found[way][PLAIN]["to_plain"] == 1.0
        assert found[way][NAT64]["to_plain"] == 0.95
        assert found[way][NAT64]["mbit"] == 190.0
        assert found[way][NAT64]["turns_mbit"] == [90.0, 950.0, 190.0]
        assert found[way][PLAIN]["cpu_s_per_gb"] == 5.0
    text = shown(nat64.tunnel_table({"engine": "qh3", "runs": 3, "seconds": 4.0, **found}))
    assert "0.95" in text
    assert "TAYGA" not in text


def test_a_rival_that_was_not_measured_leaves_a_dash():
    costs = [
        Cost("vpnrs", TO_V4, 60, 5e5, 0.24),
        Cost("vpnrs", TO_V6, 60, 4e5, 0.2),
        Cost("TAYGA", TO_V4, 60, 3e5, 0.1),
    ]
    text = shown(nat64.translator_table(costs))
    assert "500,000" in text
    assert "–" in text.splitlines()[-2]


def test_a_smaller_state_is_measured_whole(monkeypatch):
    monkeypatch.setattr(nat64_state, "COUNT", 3000)
    monkeypatch.setattr(nat64_state.gc, "freeze", lambda: None)
    state = nat64_state.measure()._asdict()
    assert all(value >= 0 for key, value in state.items() if key != "mb")
    assert "a step of expiring all" in shown(nat64.state_table(state))
