"""docs/performance.md is what bench/page.py makes of the committed data; and what each part makes of a few results."""

from __future__ import annotations

import re

import pytest

from bench import page, profile
from bench.clients import jain
from bench.congestion import PATHS, key, relay_load
from bench.figures import QH3, RIVAL
from bench.record import Record

ABOUT = {
    "at": "2026-01-02T03:04:05",
    "commit": "abc",
    "host": {"cpu": "Example", "cores": 2, "kernel": "6.1", "python": "3.11", "tcp": "bbr"},
    "options": {"seconds": 4.0},
    "failures": [],
}
PEERS = {RIVAL: "v1", QH3: "v2", page.BARE: "elsewhere"}
TURN = {
    RIVAL: {"tcp_up_mbit": 1000.0, "ping_idle_ms": 0.5},
    QH3: {"tcp_up_mbit": 1200.0, "ping_idle_ms": 0.75, "sessions_missed": 0.0},
    page.BARE: {"tcp_up_mbit": 1500.0},
}


def section(**more):
    return {**ABOUT, "peers": PEERS, **more}


def test_the_committed_page_is_what_its_data_says():
    made = page.page(Record.load(page.DATA).sections, page.TEXT.read_text())
    assert page.PAGE.read_text() == made, (
        "docs/performance.md is stale: run `.venv/bin/python -m bench.page docs/performance.json`"
    )


def test_the_page_has_every_plot_and_no_other():
    named = set(re.findall(r"\(img/([\w-]+\.svg)\)", page.PAGE.read_text()))
    assert named
    assert {file.name for file in page.IMAGES.glob("*.svg")} == named


def test_table_targets_and_yardstick_come_from_the_turns():
    text = page.page({"table": section(turns=[TURN, TURN])}, "{{about}}\n{{table}}\n{{targets}}\n{{yardstick}}\nend")
    assert "2 turns on 2026-01-02, commit abc, 2 cores (Example)" in text
    assert "s a stream, TCP with bbr." in text
    assert "| TCP, one stream, Mbit/s, up | 1,000 | 1,200 |" in text
    assert "| TCP, one stream, Mbit/s, up | 1.20 (1.20–1.20) |" in text
    assert f"| {QH3}: TCP, one stream, Mbit/s, up | ≥ 1.1 × | 1.20 (1.20–1.20) | met |" in text
    assert f"| {QH3}: ping idle, median, ms | ≤ 1.2 × | 1.50 (1.50–1.50) | **not met** |" in text
    assert f"| {QH3}: CPU s per GB, both ends, up | ≤ 0.9 × | – | not measured |" in text
    assert f"| {QH3}: of 1,000 idle sessions lost in 35 s | ≤ 0 | 0 | met |" in text
    assert "| TCP, one stream, Mbit/s, up | 1,500 | 1,200 | 0.80 (0.80–0.80) | 1.50 (1.50–1.50) |" in text
    assert text.endswith("end\n")


def test_a_section_that_was_not_measured_says_so():
    assert page.page({}, "{{congestion}}\n{{clients}}") == "*Not measured.*\n*Not measured.*\n"


def test_bad_paths_have_their_ratio_and_the_relay_s_load():
    name = next(iter(PATHS))
    one = key(name, "cubic")
    turns = [
        {
            RIVAL: {one: 500.0, f"{one}, relay CPU": 20.0, f"{name}, relay overflowed": 0},
            QH3: {one: 400.0, f"{one}, relay CPU": 35.0, f"{name}, relay overflowed": 2},
        }
    ]
    assert relay_load(turns, name) == (35.0, 2)
    text = page.page({"congestion": section(turns=turns)}, "{{congestion}}")
    assert f"| {name} | cubic | 500 | 400 | 0.80 |" in text
    assert "at most 35 % of a core" in text
    assert "no room for 2 datagrams" in text


def test_clients_and_profile_are_tables():
    row = {
        "engine": "qh3",
        "way": "up",
        "inner": "bbr",
        "clients": 10,
        "mbit": 1234.0,
        "jain": 0.99,
        "least": 90.0,
        "most": 130.0,
    }
    row |= {"server_cpu_percent": 98.0, "server_cpu_s_per_gb": 5.5}
    shares = {"qh3": {"client": {"asyncio": 60.0, "kernel: TUN": 40.0}, "server": {"asyncio": 100.0}}}
    text = page.page({"clients": section(rows=[row]), "profile": section(shares=shares)}, "{{clients}}\n{{profile}}")
    assert "| qh3 | up | bbr | 10 | 1,234 | 0.990 | 90.0–130.0 | 98 | 5.5 |" in text
    assert "| | qh3, sends | qh3, receives |" in text.replace("|  |", "| |")
    assert "| kernel: TUN | 40 % | 0 % |" in text


@pytest.mark.parametrize(("values", "index"), [([5, 5, 5], 1.0), ([9, 0, 0], 1 / 3), ([], 0.0), ([0, 0], 0.0)])
def test_jain_s_index_tells_equal_from_unequal(values, index):
    assert jain(values) == pytest.approx(index)


def test_samples_are_told_apart_by_their_innermost_frame():
    lines = [
        "main (a.py:1);epoll_wait (libc.so.6) 50",
        "main (a.py:1);send (vpnrs_core/quic/udp.py:9);sendmsg (libc.so.6) 10",
        "main (a.py:1);turn (vpnrs_core/quic/driver.py:7) 20",
        "main (a.py:1);cut (vpnrs_core/packet/cut.py:48) 20",
        "main (a.py:1);0x7f (qh3/_hazmat.abi3.so) 25",
        "main (a.py:1);0x7f (libc.so.6) 5",
        "main (a.py:1);s_unpack (_struct.c:15) 10",
        "main (a.py:1);lambda (<string>:1) 10",
    ]
    assert profile.shares(lines) == {
        "qh3's native core": 25.0,
        "QUIC driver and adapters": 20.0,
        "packets and codecs": 20.0,
        "kernel: UDP socket": 10.0,
        "interpreter and its C modules": 10.0,
        "other Python": 10.0,
        "copies and allocation": 5.0,
    }
    with pytest.raises(ValueError, match="waiting"):
        profile.shares(lines[:1])
