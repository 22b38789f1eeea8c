"""The bench's arithmetic: medians, spread, ratios turn by turn, targets; and the table that shows them."""

from __future__ import annotations

import pytest
from rich.console import Console

from bench.figures import AIOQUIC, FIGURES, QH3, RIVAL, TARGETS, Target, of, ratio, spread
from bench.table import as_table, in_words, rows

TURNS = [
    {RIVAL: {"tcp_up_mbit": 1000.0, "retransmits_up": 0.0}, QH3: {"tcp_up_mbit": 1200.0, "retransmits_up": 3.0}},
    {RIVAL: {"tcp_up_mbit": 500.0}, QH3: {"tcp_up_mbit": 550.0}},
    {RIVAL: {"tcp_up_mbit": 2000.0}, QH3: {"tcp_up_mbit": 2600.0}},
]


def test_ratios_are_computed_turn_by_turn():
    found = ratio(TURNS, QH3, "tcp_up_mbit")
    assert found is not None
    assert (found.median, found.low, found.high, found.turns) == pytest.approx((1.2, 1.1, 1.3, 3))
    medians = of(TURNS, QH3, "tcp_up_mbit").median / of(TURNS, RIVAL, "tcp_up_mbit").median
    assert medians == 1.2, "here the ratio of medians is the same by chance"
    slow = [*TURNS, {RIVAL: {"tcp_up_mbit": 10.0}, QH3: {"tcp_up_mbit": 11.0}}]
    assert ratio(slow, QH3, "tcp_up_mbit").median == pytest.approx(1.15), "a slow turn moves both sides"


def test_a_turn_that_lacks_one_side_is_left_out():
    turns = [*TURNS, {RIVAL: {"tcp_up_mbit": 1.0}}, {QH3: {"tcp_up_mbit": 1.0}}]
    assert ratio(turns, QH3, "tcp_up_mbit") == ratio(TURNS, QH3, "tcp_up_mbit")
    assert of(turns, QH3, "tcp_up_mbit").turns == 4


def test_nothing_is_divided_by_zero():
    assert ratio(TURNS, QH3, "retransmits_up") is None
    assert spread([]) is None


def test_a_target_looks_at_the_right_side_of_its_limit():
    assert Target(QH3, "tcp_up_mbit", 1.2).met(TURNS) is True
    assert Target(QH3, "tcp_up_mbit", 1.21).met(TURNS) is False
    less = [{RIVAL: {"cpu_s_per_gb_up": 10.0}, QH3: {"cpu_s_per_gb_up": 8.0}}]
    assert Target(QH3, "cpu_s_per_gb_up", 0.9).met(less) is True
    assert Target(QH3, "cpu_s_per_gb_up", 0.7).met(less) is False
    assert Target(QH3, "retransmits_up", 0, absolute=True).met(TURNS) is False
    assert Target(AIOQUIC, "tcp_up_mbit", 0.15).met(TURNS) is None


def test_every_target_is_of_a_figure_that_exists():
    known = {figure.key for figure in FIGURES}
    assert len(known) == len(FIGURES)
    assert {target.key for target in TARGETS} <= known


def test_the_table_has_the_peers_as_measured_and_leaves_out_what_nobody_has():
    shown = {label: (values, ratios) for label, values, ratios in rows(TURNS)}
    assert shown["TCP, one stream, Mbit/s, up"] == (["1,000", "1,200"], ["1.20 (1.10–1.30)"])
    assert shown["segments sent again, one stream, up"] == (["0", "3"], ["–"])
    assert "handshakes a second" not in shown
    console = Console(width=160)
    with console.capture() as capture:
        console.print(as_table({"turns": TURNS, "peers": {RIVAL: "v1", QH3: "v2"}}))
    assert "1.20 (1.10–1.30)" in capture.get()


def test_a_single_turn_has_no_spread():
    assert in_words(spread([1.234])) == "1.23"
    assert in_words(None) == "–"
