"""What is measured as the cost of counting is all of it: each statement of the packet path that counts."""

from __future__ import annotations

from bench.counting import COUNTED, ROOMS, counting, statements
from vpnrs_core.counters import FlowCounters
from vpnrs_core.interfaces.tun import TunCounters
from vpnrs_core.quic.udp import SocketCounters


def test_everything_that_is_counted_is_timed():
    flows = set(FlowCounters.__slots__)
    tun = set(TunCounters.__slots__)
    udp = set(vars(SocketCounters())) - {"lost", "too_large"}  # nothing is counted there while all is well
    assert flows | tun | udp <= COUNTED
    assert {name for room in ROOMS for name, _ in statements(room)} == COUNTED


def test_the_statements_run_as_they_stand():
    assert counting() > 0
