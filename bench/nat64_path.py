"""NAT64 through a tunnel, to a host behind the server, next to the same tunnel without translation and next to TAYGA.

    client (IPv6) ── vpnrs ── server ── host
                              ├ fd00:99::2: as it is
                              ├ 64:ff9b:1::10.99.0.2: the plugin
                              └ fd64:ff9b::10.99.0.2: TAYGA, and nftables masquerade, in the server's namespace

One tunnel carries all three, and each turn measures one after the other, so that they differ in nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.nat64_page import NAT64, PLAIN, TAYGA
from bench.nat64_tayga import PREFIX as TAYGA_PREFIX
from bench.nat64_tayga import Tayga
from vpnrs_core.testkit.tunnel import BEHIND4, BEHIND6, BEHIND_NETWORKS, TunnelNet

PREFIX, SOURCE = "64:ff9b:1::", "10.88.0.1"
_PORT = 5201
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 15.0


class Stream(NamedTuple):
    """One TCP stream: received Mbit/s, and CPU seconds of all that carries it (both ends, and TAYGA) a gigabyte."""

    who: str
    way: str
    mbit: float
    cpu_per_gb: float


class Tunnel(NamedTuple):
    """A tunnel that is up: what to dial for each way of getting there, and whose CPU time counts."""

    net: TunnelNet
    targets: Mapping[str, str]
    pids: tuple[int, ...]


@contextmanager
def path(engine: str | None = None) -> Iterator[Tunnel]:
    """`engine`: NAME of a plugin with a QUIC engine that both ends use, None: the built-in one."""
    options = () if engine is None else ("-p", engine)
    with ExitStack() as stack:
        net = stack.enter_context(TunnelNet(behind=True, ipv4=None))
        net.server.configure(
            {
                "session": {"routes": [BEHIND_NETWORKS[1], f"{TAYGA_PREFIX}/96"], "dns": ["fd77::1"]},
                "forwarding": {"enable": True},
                "plugins": {"nat64": {"prefix": f"{PREFIX}/96", "source_ip": SOURCE}},
            }
        )
        assert net.behind_ns is not None
        net.net.add_route(net.behind_ns, f"{SOURCE}/32", "10.99.0.1")
        net.server.start(*options)
        net.server.wait_state("listening")
        net.client.start(*options)
        net.client.wait_state("connected")
        targets = {PLAIN: BEHIND6, NAT64: f"{PREFIX}{BEHIND4}"}
        pids: tuple[int, ...] = (net.client.pid, net.server.pid)
        if not Tayga.unavailable():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            tayga = stack.enter_context(Tayga.running(net.server_ns, folder, out="behind"))
            targets[TAYGA] = f"{TAYGA_PREFIX}{BEHIND4}"
            pids = (*pids, tayga.pid)
        for target in targets.values():
            _wait_for(f"a ping to {target}", lambda target=target: _reaches(net, target))  # type: ignore[misc]
        yield Tunnel(net, targets, pids)


def streams(path: Tunnel, seconds: int) -> Iterator[Stream]:
    """One turn: each way of getting there, up and then down."""
    for way, options in (("up", ()), ("down", ("--reverse",))):
        for who, target in path.targets.items():
            try:
                yield _stream(path, who, target, way, options, seconds)
            except subprocess.TimeoutExpired:  # rare, seen with TAYGA; a second time it is not
                yield _stream(path, who, target, way, options, seconds)


def _stream(path: Tunnel, who: str, target: str, way: str, options: tuple[str, ...], seconds: int) -> Stream:
    behind, client = path.net.behind_ns, path.net.client_ns[0]
    assert behind is not None
    server = behind.spawn("iperf3", "-s", "-1", "-p", str(_PORT), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for("iperf3", lambda: f":{_PORT} " in behind.run("ss", "-Hltn").stdout)
        before = _cpu_seconds(path.pids)
        done = client.run(
            "iperf3", "-c", target, "-p", str(_PORT), "-t", str(seconds), "-J", *options,
            check=False, timeout=seconds + 30,
        )  # fmt: skip
        spent = _cpu_seconds(path.pids) - before
    finally:
        server.terminate()
        server.wait(10)
    report: dict[str, Any] = json.loads(done.stdout)
    if "error" in report:
        raise RuntimeError(f"{who}, {way}: iperf3: {report['error']}")
    received = report["end"]["sum_received"]
    return Stream(who, way, received["bits_per_second"] / 1e6, spent / (received["bytes"] / 1e9))


def _cpu_seconds(pids: tuple[int, ...]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _reaches(net: TunnelNet, target: str) -> bool:
    return net.client_ns[0].run("ping", "-c1", "-W1", target, check=False).returncode == 0


def _wait_for(what: str, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {_PATIENCE:g} s")
        time.sleep(0.02)
