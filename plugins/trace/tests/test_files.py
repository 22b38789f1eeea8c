"""Capture files as other programs read them, and lines with and without scapy."""

from __future__ import annotations

import base64
import shutil
import subprocess

import pytest
from scapy.utils import RawPcapNgReader
from vpnrs_trace.commands import _capture
from vpnrs_trace.decode import decoder, plain
from vpnrs_trace.pcapng import PcapNg

from vpnrs_core.testkit.packets import echo, tcp, udp

PACKETS = [
    (1_700_000_000.25, "egress tun", udp("10.0.0.2", "10.0.0.3", b"odd"), "", False),
    (1_700_000_001.5, "ingress link", tcp("fd00::2", "fd00::3", b"even"), "dropped: source", True),
    (1_700_000_002.0, "egress tun", echo("10.0.0.2", "10.0.0.3"), "", False),
]


@pytest.fixture
def file(tmp_path):
    made = PcapNg("vpnrs, session s1 (alice)", 65_535)
    path = tmp_path / "x.pcapng"
    blocks = [made.packet(at, point, d, len(d), comment, inbound=i) for at, point, d, comment, i in PACKETS]
    path.write_bytes(made.begin() + b"".join(blocks))
    return path


def test_scapy_reads_packets_times_points_and_comments(file):
    with RawPcapNgReader(str(file)) as reader:
        read = [reader._read_packet() for _ in PACKETS]
    for (data, meta), (at, point, packet, comment, _) in zip(read, PACKETS, strict=True):
        assert data[4:] == packet
        assert (meta.tshigh << 32 | meta.tslow) / 1e6 == at
        assert meta.ifname == point.encode()
        found = getattr(meta, "comments", None) or ([meta.comment] if getattr(meta, "comment", None) else [])
        assert found == ([comment.encode()] if comment else [])


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not here")
def test_tcpdump_reads_it(file):
    said = subprocess.run(["tcpdump", "-n", "-r", str(file)], capture_output=True, text=True, timeout=20)
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert len(lines) == len(PACKETS)
    assert "10.0.0.2" in lines[0]
    assert "fd00::2" in lines[1]
    assert "ICMP echo request" in lines[2]


def test_a_line_tells_who_talks_to_whom():
    decode = decoder()
    assert "10.0.0.2" in decode(PACKETS[0][2])
    assert "UDP" in decode(PACKETS[0][2])
    assert "fd00::3" in decode(PACKETS[1][2])
    assert decode(b"") == ""


def test_without_scapy_it_does_too():
    assert plain(udp("10.0.0.2", "10.0.0.3", b"x")).startswith("UDP 10.0.0.2:")
    assert plain(echo("10.0.0.2", "10.0.0.3")) == "ICMP 10.0.0.2 > 10.0.0.3"
    assert plain(b"\x45garbage").startswith("malformed")
    assert plain(b"") == ""


@pytest.mark.parametrize("data", [b"\x45\x00\x1b[31m", b"\x60", bytes(60), b"\xff" * 100])
def test_nothing_that_a_packet_holds_breaks_a_line(data):
    for text in (decoder()(data), plain(data)):
        assert text.isprintable()


def test_a_file_is_never_larger_than_it_may_be(tmp_path):
    path = tmp_path / "x.pcapng"
    data = PACKETS[0][2]
    packet = {
        "at": 1.0, "point": "tun", "direction": "egress", "reason": "", "length": len(data), "segments": 1,
        "data": base64.b64encode(data).decode(),
    }  # fmt: skip
    with path.open("wb") as file:
        show = _capture(file, "session s1", 65_535, 4096)
        shown = 0
        while show(packet):
            shown += 1
    assert 4096 - 2 * len(data) - 100 < path.stat().st_size <= 4096
    with RawPcapNgReader(str(path)) as reader:
        assert len([reader._read_packet() for _ in range(shown)]) == shown > 10
