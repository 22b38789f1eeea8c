"""What iperf3, ping and /proc say, as the bench reads it."""

from __future__ import annotations

import os

import pytest

from bench import iperf, pings, process
from bench.record import cpu

PING = """PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.
64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=0.50 ms
64 bytes from 10.0.0.1: icmp_seq=2 ttl=64 time=9.0 ms
64 bytes from 10.0.0.1: icmp_seq=4 ttl=64 time=1.00 ms

--- 10.0.0.1 ping statistics ---
4 packets transmitted, 3 received, 25% packet loss, time 42ms
rtt min/avg/max/mdev = 0.500/3.500/9.000/3.890 ms
"""


def test_pings_give_median_mean_p99_and_loss():
    assert pings.parse(PING) == pings.Ping(median=1.0, mean=3.5, p99=9.0, lost=25.0)


def test_a_ping_without_an_answer_is_an_error_that_says_what_ping_said():
    with pytest.raises(RuntimeError, match="unknown host"):
        pings.parse("ping: unknown host")


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (99, 10), (90, 9), (91, 10), (1, 1)])
def test_percentiles_are_of_the_nearest_rank(percent, value):
    assert pings.percentile(list(range(1, 11)), percent) == value


def test_tcp_counts_what_arrived_and_what_was_sent_again():
    end = {"sum_received": {"bits_per_second": 8e8, "bytes": 4_000_000}, "sum_sent": {"retransmits": 7}}
    assert iperf.tcp({"end": end}) == iperf.Tcp(mbit=800.0, bytes=4_000_000, retransmits=7)


def flood(received):
    sums = {"sum_sent": {"packets": 1000}, "sum_received": {"bytes": received * 64, "seconds": 2.5, "packets": 900}}
    return {"start": {"test_start": {"blksize": 64}}, "end": sums}


def test_udp_counts_what_arrived_and_not_what_iperf3_calls_packets():
    assert iperf.udp(flood(250)) == iperf.Udp(per_second=100.0, lost=75.0)


def test_an_error_of_iperf3_is_raised_as_such():
    with pytest.raises(RuntimeError, match="Connection refused"):
        iperf.tcp({"error": "unable to connect: Connection refused", "end": {}})
    with pytest.raises(RuntimeError, match="no datagram"):
        iperf.udp(flood(0))


def test_own_cpu_time_and_memory_are_found():
    user, system = process.user_and_system(os.getpid())
    own = os.times()
    assert user + system == pytest.approx(own.user + own.system, abs=0.2)
    assert process.resident(os.getpid()) > 5_000_000


def test_the_processor_has_a_name():
    assert cpu("processor\t: 0\nmodel name\t: Example 3000 @ 2 GHz\n") == "Example 3000 @ 2 GHz"
    assert cpu("nothing here")
