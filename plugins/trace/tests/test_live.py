"""`vpnrs trace` on a tunnel that runs.

client ── server (nat64)              What the client sends to an IPv4 address is translated, or dropped, at the server.
"""

import os
import re
import signal
import subprocess
import time

import pytest
from scapy.utils import RawPcapNgReader

from vpnrs_core.errors import HostError
from vpnrs_core.testkit.instance import VPNRS
from vpnrs_core.testkit.traffic import ping
from vpnrs_core.testkit.tunnel import SERVER4


@pytest.fixture
def net(tunnel):
    made = tunnel(clients=1)
    made.server.configure(
        {"plugins": {"trace": {}, "nat64": {"prefix": "64:ff9b:1::/96"}}, "session": {"dns": ["fd77::1"]}}
    )
    made.client.configure({"routes": ["64:ff9b:1::/96"]})
    return made.up()


@pytest.fixture
def trace(net):
    """`trace(*options)` → the running command, which traces already."""
    running = []

    def start(*options):
        command = [VPNRS, "trace", "--instance", net.server.name, *options]
        env = {**os.environ, "VPNRS_RUN_DIR": str(net.run_dir)}
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        running.append(child)
        assert "tracing session" in child.stderr.readline()
        return child

    yield start
    for child in running:
        child.kill()
        child.communicate()


def test_lines_show_each_point_and_the_trace_ends_when_asked(net, trace):
    child = trace("client")
    ping(net.client_ns[0], SERVER4, count=1, size=777)
    with pytest.raises(HostError, match="runs already"):
        net.vpnrs("trace", "--instance", net.server.name, "--seconds", "1")
    lines = []
    while len(lines) < 4:
        line = child.stdout.readline()
        if str(777 + 28) in line:
            lines.append(line.split())
    assert [(line[1], line[2]) for line in lines] == [
        ("ingress", "link"),
        ("ingress", "tun"),
        ("egress", "tun"),
        ("egress", "queue"),
    ]
    assert all("ICMP" in line for line in map(" ".join, lines))
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=20)
    assert child.returncode == 0
    assert re.search(r"\d+ packets shown", errors)
    again = net.vpnrs("trace", "--instance", net.server.name, "--seconds", "0.2", check=True)
    assert again == ""  # a second trace, and nothing passed


def test_a_capture_has_the_packet_before_and_after_translation_and_why_it_was_dropped(net, trace, tmp_path):
    file = tmp_path / "x.pcapng"
    child = trace("client", "--write", str(file), "--seconds", "20")
    for last in ("5.6.7.8", "127.0.0.1"):  # one that is translated (nobody answers), one that may not be
        net.client_ns[0].run("ping", "-c", "1", "-W", "1", f"64:ff9b:1::{last}", check=False)
    deadline = time.monotonic() + 15
    found = []
    while not {"before", "after"} <= {p for p, _, _ in found} or not any(c for _, c, _ in found):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
        found = read(file)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    before = [data for point, comment, data in read(file) if point == "before" and not comment]
    after = [data for point, _, data in read(file) if point == "after"]
    assert before[0][0] >> 4 == 6
    assert after[0][0] >> 4 == 4
    assert after[0][16:20] == bytes((5, 6, 7, 8))
    dropped = [(comment, data) for point, comment, data in read(file) if comment.startswith("dropped: nat64.")]
    assert dropped
    assert dropped[0][1][24:40].endswith(bytes((127, 0, 0, 1)))


def read(file):
    """(point without plugin, comment, packet) of what the ingress of stages left in the file."""
    found = []
    if not file.exists() or file.stat().st_size < 100:
        return found
    with RawPcapNgReader(str(file)) as reader:
        while True:
            try:
                data, meta = reader._read_packet()
            except EOFError:
                return found
            direction, point = meta.ifname.decode().split()
            comment = (getattr(meta, "comments", None) or [getattr(meta, "comment", None) or b""])[0]
            if direction == "ingress" and ":" in point:
                found.append((point.partition(":")[0], comment.decode(), data[4:]))
