"""Debian's TAYGA as a function from packet to packets: it runs in a namespace of its own, between us and its TUN.

    this process  ── AF_PACKET ──  tun "siit"  ──  tayga

What is sent on the socket is what TAYGA reads from its TUN; what it writes comes back on the socket.
"""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from vpnrs_core.testkit.netns import Topology, unavailable

PREFIX = "2001:db8:64::/96"
CLIENT4, CLIENT6 = "198.51.100.10", "2001:db8::10"
ROUTER4 = "198.51.100.1"
_CONFIG = f"""
tun-device siit
ipv4-addr {ROUTER4}
ipv6-addr 2001:db8::1
prefix {PREFIX}
map {CLIENT4} {CLIENT6}
data-dir {{folder}}
"""
_ETH = {4: 0x0800, 6: 0x86DD}
_PACKET_OUTGOING = 4
# Seconds that an answer may take on a busy machine.
PATIENCE = 10.0


def why_not() -> str | None:
    """Why TAYGA cannot be asked here; None: it can."""
    path = shutil.which("tayga", path="/usr/sbin:/usr/bin:/sbin:/bin")
    return "tayga is not installed: apt-get install tayga" if path is None else unavailable()


class Tayga:
    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def translate(self, data: bytes, patience: float) -> bytes | None:
        """What it makes of an IP packet, None: nothing within `patience` seconds."""
        self._read(0)
        self._end.sendto(data, ("siit", _ETH[data[0] >> 4]))
        return self._read(patience)

    def _read(self, patience: float) -> bytes | None:
        deadline = time.monotonic() + patience
        while select.select([self._end], [], [], max(0.0, deadline - time.monotonic()))[0]:
            data, address = self._end.recvfrom(70_000)
            if address[2] != _PACKET_OUTGOING and patience:
                return data
        return None


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Tayga]:
    config = folder / "tayga.conf"
    config.write_text(_CONFIG.format(folder=folder))
    with Topology() as net:
        inside = net.namespace("tayga")
        inside.run("tayga", "-c", str(config), "--mktun")
        inside.run("ip", "link", "set", "siit", "addrgenmode", "none")
        inside.run("ip", "link", "set", "siit", "up")
        inside.spawn("tayga", "-c", str(config), "--nodetach")
        with inside.entered():
            end = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            end.bind(("siit", 0x0003))
        with end:
            tayga = Tayga(end)
            _await(tayga)
            yield tayga


def _await(tayga: Tayga) -> None:
    """Until it answers a packet that it certainly translates."""
    from vpnrs_core.testkit.packets import udp

    probe = udp(CLIENT6, "2001:db8:64::8.8.8.8", b"probe")
    for _ in range(40):
        if tayga.translate(probe, 0.25) is not None:
            return
    raise TimeoutError("tayga does not translate")
