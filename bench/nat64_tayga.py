"""TAYGA with nftables masquerade behind it: the NAT64 that Debian has, on the same path as ours.

IPv6 ── TUN "tayga" ── IPv4 of its pool ── nftables masquerade ── the host's own IPv4 address
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpnrs_core.testkit.netns import Namespace

# TAYGA 0.9.2 refuses 64:ff9b:1::/48.
PREFIX = "fd64:ff9b::"
POOL, ROUTER4 = "192.168.254.0/24", "192.168.254.1"
PROTOCOL = {4: 0x0800, 6: 0x86DD}
_CLIENT6, _CLIENT4 = "fd00:64::2", "192.168.254.2"
_TICKS = os.sysconf("SC_CLK_TCK")
_PLACES = "/usr/sbin:/usr/bin:/sbin:/bin"
_CONFIG = """
tun-device {device}
ipv4-addr {router}
ipv6-addr fd00:64::1
prefix {prefix}/96
map {client4} {client6}
dynamic-pool {pool}
data-dir {folder}
"""
# Seconds that it may take to start.
_PATIENCE = 10.0


class Tayga:
    """A running one. `client6` and `client4` are a fixed pair; every other IPv6 address gets one of the pool's."""

    device = "tayga"
    client6, client4 = _CLIENT6, _CLIENT4

    def __init__(self, namespace: Namespace, process: subprocess.Popen[str]) -> None:
        self.namespace = namespace
        self.pid = process.pid

    @staticmethod
    def unavailable() -> str | None:
        """Why it cannot be measured here, None: it can."""
        missing = [name for name in ("tayga", "nft") if shutil.which(name, path=_PLACES) is None]
        return f"{' and '.join(missing)} missing; on Debian: apt-get install tayga nftables" if missing else None

    @staticmethod
    @contextmanager
    def running(namespace: Namespace, folder: Path, mtu: int = 1500, out: str | None = None) -> Iterator[Tayga]:
        """In `namespace`, its files in `folder`, until the block ends; `mtu` is its TUN's. `out`: the interface on
        which what it made is masqueraded, None: on none."""
        config = folder / "tayga.conf"
        config.write_text(
            _CONFIG.format(
                device=Tayga.device, router=ROUTER4, prefix=PREFIX, client4=_CLIENT4, client6=_CLIENT6, pool=POOL,
                folder=folder,
            )
        )  # fmt: skip
        namespace.run("tayga", "-c", str(config), "--mktun")
        for words in (
            ("link", "set", "dev", Tayga.device, "mtu", str(mtu), "txqueuelen", "10000", "up"),
            ("route", "add", POOL, "dev", Tayga.device),
            ("-6", "route", "add", f"{PREFIX}/96", "dev", Tayga.device),
        ):
            namespace.run("ip", *words)
        if out is not None:
            rules = "add table ip bench; add chain ip bench post { type nat hook postrouting priority 100; }; "
            namespace.run("nft", f'{rules}add rule ip bench post ip saddr {POOL} oifname "{out}" masquerade')
        process = namespace.spawn("tayga", "-c", str(config), "--nodetach", stderr=subprocess.DEVNULL)
        tayga = Tayga(namespace, process)
        try:
            tayga._await(process)
            yield tayga
        finally:
            process.terminate()
            process.wait(10)

    def written(self) -> int:
        """Packets that it has written into its TUN so far."""
        return int(self.namespace.run("cat", f"/sys/class/net/{self.device}/statistics/rx_packets").stdout)

    def cpu_seconds(self) -> float:
        """User and system time of its process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _await(self, process: subprocess.Popen[str]) -> None:
        """Until it has its TUN: a device without a reader has no carrier."""
        deadline = time.monotonic() + _PATIENCE
        while "LOWER_UP" not in self.namespace.run("ip", "link", "show", "dev", self.device).stdout:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("tayga did not start")
            time.sleep(0.02)
