"""The contract of packet stages in a running tunnel: an installed plugin splits, holds, changes headers, and fails.

client ── server            The plugin is a distribution on PYTHONPATH, turned on by [plugins.probe] at the server.
"""

import socket
import textwrap
import time
from pathlib import Path

import pytest

from tests.netns.pairs import udp_pair
from vpnrs_core.testkit.capture import Capture
from vpnrs_core.testkit.traffic import content, ping, tcp_transfer, udp_exchange
from vpnrs_core.testkit.tunnel import SERVER4, SERVER6

STAGES = Path(__file__).parents[1] / "pipeline"
UDP_SEGMENT = 103  # linux/udp.h
PLAIN = "from vpnrs_core.hookspecs import impl\nfrom vpnrs_core.interfaces import Direction\n"


@pytest.fixture
def probe(tunnel, tmp_path):
    """`probe(code)`: a tunnel that is up, whose server runs the stage of a plugin made of this code."""

    def make(code, **options):
        info = tmp_path / "vpnrs_probe-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: vpnrs-probe\nVersion: 1.0\nSummary: A stage.\nRequires-Dist: vpnrs-core\n"
        )
        (info / "entry_points.txt").write_text("[vpnrs]\nprobe = vpnrs_probe:Plugin\n")
        (tmp_path / "vpnrs_probe.py").write_text(code)
        net = tunnel(env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}, **options)
        net.server.configure({"plugins": {"probe": {}}})
        return net.up()

    return make


def own(net, address):
    return net.addresses()[6 if ":" in address else 4]


@pytest.mark.parametrize("server", [SERVER4, SERVER6])
def test_a_stage_may_make_several_packets_of_one(probe, server):
    net = probe((STAGES / "split_stage.py").read_text())
    client, server_ns = net.client_ns[0], net.server_ns
    with udp_pair(client, server_ns, server) as (near, far):
        near.send(content(1000))
        assert far.recv(2000) + far.recv(2000) == content(1000)
        far.connect(near.getsockname()[:2])
        far.send(content(600))
        assert near.recv(2000) + near.recv(2000) == content(600)
        # One super-packet of three segments: segments, or halves of them, depending on who joined what on the way.
        near.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 500)
        near.send(content(1500))
        parts = []
        while sum(map(len, parts)) < 1500:
            parts.append(far.recv(2000))
        assert b"".join(parts) == content(1500)
        assert {len(part) for part in parts} <= {500, 250}
    tcp_transfer(client, server_ns, server, content(2_000_000, 1), content(2_000_000, 2))


@pytest.mark.parametrize("server", [SERVER4, SERVER6])
def test_a_stage_may_hold_packets_and_let_them_go_later_as_one(probe, server):
    net = probe((STAGES / "hold_stage.py").read_text())
    with udp_pair(net.client_ns[0], net.server_ns, server) as (near, far):
        started = time.monotonic()
        for part in (b"one ", b"two ", b"three"):
            near.send(part)
        assert far.recv(2000) == b"one two three"
        assert time.monotonic() - started > 0.04
    tcp_transfer(net.client_ns[0], net.server_ns, server, content(2_000_000, 1))
    assert "stage_error" not in net.server.status()["drops"]


OPTION = PLAIN + textwrap.dedent("""
    from vpnrs_core.packet.checksum import checksum

    class Option:
        '''Ingress IPv4 gets a header of 24 bytes (four no-operations), on egress such a header loses them.'''

        def matches(self):
            return None

        def process(self, direction, batch, out, now):
            for packet in batch:
                data = packet.data
                if packet.version == 6:
                    out.forward(packet)
                elif direction is Direction.INGRESS and data[0] == 0x45:
                    out.forward(packet, self.with_options(packet, b"\\1\\1\\1\\1"))
                else:
                    out.forward(packet, self.with_options(packet, b""))

        def with_options(self, packet, options):
            at, data = packet.l4_offset, packet.data
            ip = bytearray(data[:20] + options)
            ip[0] = 0x40 | len(ip) // 4
            ip[2:4] = (len(ip) + len(data) - at).to_bytes(2, "big")
            ip[10:12] = b"\\0\\0"
            ip[10:12] = checksum(ip).to_bytes(2, "big")
            return packet.replace_headers(bytes(ip) + data[at : packet.header_length])

        def on_wake(self, now, out):
            pass

    class Factory:
        NAME = "option"
        ORDER = 10

        def tun(self, wake_at):
            return Option()

    class Plugin:
        def __init__(self, config, ctx):
            pass

        @impl
        def vpnrs_register_packet_stages(self):
            return [Factory()]
""")


@pytest.mark.parametrize("offload", [True, False])
def test_a_stage_may_change_the_length_of_headers(probe, offload):
    net = probe(OPTION)
    if not offload:
        net.client.stop()
        net.client.configure({"tun": {"offload": False}})
        net.client.start()
        net.client.wait_state("connected")
    client, server_ns = net.client_ns[0], net.server_ns
    with Capture(server_ns, net.server.status()["tun"]["name"]) as here:
        ping(client, SERVER4)
        lengths = {data[0] & 15 for _, _, data in here.packets() if data[16:20] == bytes((10, 77, 0, 1))}
    assert lengths == {6}, "what reaches the host has the option"
    for server in (SERVER4, SERVER6):
        tcp_transfer(client, server_ns, server, content(2_000_000, 1), content(2_000_000, 2))
        assert udp_exchange(client, server_ns, server, datagrams=300, size=1200) < 10


RAISING = PLAIN + textwrap.dedent("""
    class Raising:
        def matches(self):
            return None

        def process(self, direction, batch, out, now):
            for packet in batch:
                if packet.protocol == 17 and b"now" in packet.data:
                    raise ValueError("cannot cope with this one")
                out.forward(packet)

        def on_wake(self, now, out):
            pass

    class Factory:
        NAME = "raising"
        ORDER = 10

        def bind(self, session, wake_at):
            return Raising()

    class Plugin:
        def __init__(self, config, ctx):
            pass

        @impl
        def vpnrs_register_packet_stages(self):
            return [Factory()]
""")


def test_a_stage_that_raises_loses_its_packets_only_and_is_named(probe):
    net = probe(RAISING)
    failing = 7
    with udp_pair(net.client_ns[0], net.server_ns, SERVER4) as (near, far):
        for number in range(failing):
            near.send(b"fail now %d" % number)
            net.server.wait_for("failed", lambda s, n=number: s["drops"].get("stage_error", 0) == n + 1)
        near.send(b"go on")
        assert far.recv(2000) == b"go on"
    status = net.server.status()
    assert {p["name"]: p["failures"] for p in status["plugins"]}["probe"] == failing
    assert status["drops"] == {"stage_error": failing}
    said = [line for line in net.server.log.splitlines() if "cannot cope with this one" in line]
    assert said
    assert len(said) < failing, "the same failure again and again must not flood the log"
    assert all("probe" in line and "process" in line and "vpnrs_probe.py" in line for line in said)
    ping(net.client_ns[0], SERVER6)
    tcp_transfer(net.client_ns[0], net.server_ns, SERVER4, content(1_000_000))
