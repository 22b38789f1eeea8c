"""A path that is full for a minute: data waits and is dropped in our own queues, and liveness never notices.

client ── relay: 1 Mbit/s each way, 20 ms, 25 KB of buffer ── server
"""

import json
import signal
import subprocess
import sys
import time

import pytest

from vpnrs_core.testkit.tunnel import SERVER4

SECONDS = 60
ROUND_TRIP = 2 * 0.020 + 25_000 * 8 / 1e6  # with the relay's buffer full

# 1200 bytes each 2 ms, 4.8 Mbit/s, whatever becomes of it.
FLOOD = """
import socket, sys, time
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    try:
        end.sendto(bytes(1200), (sys.argv[1], 9))
    except OSError:
        pass
    time.sleep(0.002)
"""


@pytest.mark.long
def test_a_queue_that_is_full_for_a_minute_costs_no_connection_and_delays_no_pong(tunnel):
    net = tunnel(relay={"rate": 1, "delay": 20, "queue": 25_000}).up()
    before = net.client.status()["client"]["session"]
    net.server_ns.spawn("iperf3", "-s", stdout=subprocess.DEVNULL)
    net.client_ns[0].spawn(sys.executable, "-c", FLOOD, SERVER4)
    net.server_ns.spawn(sys.executable, "-c", FLOOD, net.addresses()[4])
    tcp = net.client_ns[0].spawn("iperf3", "-J", "-c", SERVER4, "-t", str(SECONDS), stdout=subprocess.PIPE, text=True)
    began, rtts, queues = time.monotonic(), [], []
    while time.monotonic() - began < SECONDS:
        for instance in (net.client, net.server):
            status = instance.status()
            session = status["client"]["session"] if status["client"] else status["server"]["sessions"][0]
            assert session["id"] == before["id"]
            assert session["state"] == "active"
            rtts.append(session["links"][0]["rtt_ms"] / 1000)
            queues.append(session["queue_bytes"])
        time.sleep(1)
    print(f"round trips {min(rtts):.3f} to {max(rtts):.3f} s, queues up to {max(queues)} bytes")
    assert max(rtts) < 3 * ROUND_TRIP + 1
    assert sum(size > 0 for size in queues) > len(queues) / 2  # it was full indeed
    assert max(queues) <= 1_000_000
    assert net.client.log.count(" connected ") == 1
    for instance in (net.client, net.server):
        drops = instance.status()["drops"]
        print(instance.name, drops)
        assert drops.keys() <= {"queue_overflow", "queue_delay", "link_local", "multicast"}
        assert drops["queue_overflow"] + drops["queue_delay"] > 1000
    tcp.send_signal(signal.SIGINT)  # its last message need not fight its way through
    out, _ = tcp.communicate(timeout=10)
    moved = json.loads(out)["end"]["sum_sent"]["bytes"]
    print(f"TCP moved {moved} bytes beside the flood; relay: {net.relays[0].stop()}")
    assert moved > 500_000
