"""The path that every peer is measured on: two network namespaces joined by one wire, or by a relay between two.

client 10.201.0.1 ── veth, MTU 1500 ── 10.201.0.2 server
client 10.201.0.1 ── veth ── 10.201.0.2 relay 10.201.1.1 ── veth ── 10.201.1.2 server
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vpnrs_core.testkit.netns import Namespace, Topology


@dataclass(frozen=True)
class Ends:
    """`address` is where the server is. `dial` is where the client finds it: the same, or a relay's."""

    client: Namespace
    server: Namespace
    address: str = "10.201.0.2"
    dial: str = "10.201.0.2"


@contextmanager
def path() -> Iterator[Ends]:
    """A new one, removed afterwards with everything that runs in it."""
    with Topology() as net:
        ends = Ends(net.namespace("client"), net.namespace("server"))
        net.connect(ends.client, ends.server, "10.201.0.0/24")
        yield ends


@dataclass
class Relayed:
    """`counts` are the relay's own, once it has ended: it is None before."""

    ends: Ends
    relay: Namespace
    process: subprocess.Popen[Any]
    counts: dict[str, Any] | None = None

    def overflowed(self) -> int:
        """Datagrams that the relay's sockets had no room for: what it was too slow for."""
        lines = self.relay.run("cat", "/proc/net/snmp").stdout.splitlines()
        names, values = (line.split()[1:] for line in lines if line.startswith("Udp:"))
        udp = dict(zip(names, map(int, values), strict=True))
        return udp["RcvbufErrors"] + udp["SndbufErrors"]


@contextmanager
def relayed_path(port: int, impairment: Sequence[str]) -> Iterator[Relayed]:
    """The same with the test kit's relay between, which impairs the UDP port as its options say."""
    with Topology() as net:
        client, relay, server = (net.namespace(label) for label in ("client", "relay", "server"))
        net.connect(client, relay, "10.201.0.0/24")
        net.connect(relay, server, "10.201.1.0/24")
        net.add_route(server, "10.201.0.0/24", "10.201.1.1")
        net.add_route(client, "10.201.1.0/24", "10.201.0.2")
        process = relay.spawn(
            sys.executable, "-m", "vpnrs_core.testkit.relay",
            "--listen", f"10.201.0.2:{port}", "--to", f"10.201.1.2:{port}", *impairment,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        if '"listening"' not in process.stdout.readline():
            raise RuntimeError("the relay does not listen")
        made = Relayed(Ends(client, server, "10.201.1.2", "10.201.0.2"), relay, process)
        try:
            yield made
        finally:
            process.terminate()
            rest = process.communicate(timeout=10)[0].splitlines()
            made.counts = json.loads(rest[-1]) if rest else None


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 15.0) -> None:
    """Ask until it is so. Raises TimeoutError that names what did not come."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.01)
