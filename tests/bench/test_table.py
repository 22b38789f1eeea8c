"""The bench's figures: medians, ratios, and what a failed run leaves out."""

import json

from rich.console import Console

from bench.measure import Measured, Ping, Stream
from bench.peers import Sessions
from bench.table import Results, as_json, as_table


def run(mbit, cpu):
    stream = Stream(mbit, 0, cpu, Ping(1.0, 0.0))
    return Measured(Ping(0.5, 0.0), stream, stream)


def test_ratios_are_of_medians_and_leave_out_what_one_side_lacks():
    ours = Results("vpnrs", "0", [run(100.0, 2.0), run(900.0, 4.0), run(300.0, 3.0)])
    theirs = Results("wg", "1", [run(600.0, 1.5)], [Sessions(100.0, 2048.0)])
    bare = Results("none", "-", [run(9000.0, None)])
    data = as_json([bare, theirs, ours], {"runs": 3, "seconds": 1.0}, "vpnrs", ["wg", "absent"])
    assert data["peers"]["vpnrs"]["median"]["tcp_up_mbit"] == 300.0
    assert data["peers"]["vpnrs"]["runs"]["tcp_up_mbit"] == [100.0, 900.0, 300.0]
    assert "cpu_s_per_gb_up" not in data["peers"]["none"]["median"]
    assert list(data["ratios"]) == ["wg"]
    assert data["ratios"]["wg"]["tcp_up_mbit"] == 0.5
    assert data["ratios"]["wg"]["cpu_s_per_gb_up"] == 2.0
    assert "handshakes_per_s" not in data["ratios"]["wg"]
    assert "retransmits_up" not in data["ratios"]["wg"], "nothing is divided by 0"
    json.dumps(data, allow_nan=False)


def test_a_peer_that_failed_is_in_the_table_without_figures():
    data = as_json([Results("vpnrs", "0", failures=["TimeoutError: x"])], {"runs": 1, "seconds": 1.0}, "vpnrs", ["wg"])
    console = Console(width=100)
    with console.capture() as capture:
        console.print(as_table(data, "vpnrs"))
    assert "TCP up, Mbit/s" in capture.get()
    assert "–" in capture.get()
    assert data["peers"]["vpnrs"]["failures"] == ["TimeoutError: x"]
