"""The NAT64's figures: ratios are taken turn by turn, and every part has its table."""

import pytest
from rich.console import Console

pytest.importorskip("vpnrs_nat64")

from bench import nat64, nat64_page, nat64_state, page
from bench.nat64_page import NAT64, PLAIN
from bench.nat64_path import Stream
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
    text = shown(nat64.as_table("", list(nat64_page.tunnel_rows(found))))
    assert "0.95" in text
    assert "TAYGA" not in text


COSTS = [
    Cost("vpnrs", TO_V4, 60, 5e5, 0.24),
    Cost("vpnrs", TO_V6, 60, 4e5, 0.2),
    Cost("vpnrs", TO_V6, 65_000, 1e5, 50.0),
    Cost("TAYGA", TO_V4, 60, 3e5, 0.1),
]


def test_a_rival_that_was_not_measured_leaves_a_dash():
    text = shown(nat64.as_table("", list(nat64_page.translator_rows([cost._asdict() for cost in COSTS]))))
    assert "500,000" in text
    assert "–" in text.splitlines()[-2]


def test_the_page_has_every_part_and_tells_what_is_not_reached():
    state = dict.fromkeys(nat64_page.LABELS, 3.0) | {"count": 100_000, "mb": 84.0, "expire_longest_ms": 11.5}
    section = {
        "at": "2026-01-02T03:04:05", "commit": "abc",
        "options": {"runs": 3, "seconds": 4.0, "engine": "qh3"},
        "translator": [cost._asdict() for cost in COSTS],
        "tunnel": nat64.summary([turn(100.0, 91.0)]),
        "state": state,
    }  # fmt: skip
    text = page.page({"nat64": section}, "{{nat64}}")
    assert f"| {TO_V4}, 60 bytes | 500,000 | 0.24 | 300,000 | 0.10 |" in text
    assert "| up, ÷ without translation | 1.00 | 0.91 |" in text
    assert "| memory | 84.0 MB |" in text
    assert f"({TO_V6}, 60 bytes) | ≥ 500,000 | 400,000 | **not met** |" in text
    assert "| through the tunnel, down, ÷ without translation | ≥ 0.9 | 0.91 | met |" in text
    assert "| 100,000 bindings, MB | ≤ 100 | 84 | met |" in text
    assert "| the longest pause, ms | ≤ 10 | 11.5 | **not met** |" in text
    assert "Turns: 3, of 4 s a stream, engine qh3.\n\nMeasured on 2026-01-02 at commit abc." in text


def test_a_smaller_state_is_measured_whole(monkeypatch):
    monkeypatch.setattr(nat64_state, "COUNT", 3000)
    monkeypatch.setattr(nat64_state.gc, "freeze", lambda: None)
    state = nat64_state.measure()._asdict()
    assert all(value >= 0 for key, value in state.items() if key != "mb")
    assert "a step of expiring all" in shown(nat64.as_table("", list(nat64_page.state_rows(state))))
