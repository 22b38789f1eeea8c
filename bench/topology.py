"""The path that every peer is measured on: two network namespaces joined by one wire.

client 10.201.0.1 ── veth, MTU 1500 ── 10.201.0.2 server
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vpnrs_core.testkit.netns import Namespace, Topology

CLIENT = "10.201.0.1"
SERVER = "10.201.0.2"


@dataclass(frozen=True)
class Ends:
    client: Namespace
    server: Namespace


@contextmanager
def path() -> Iterator[Ends]:
    """A new one, removed afterwards with everything that runs in it."""
    with Topology() as net:
        ends = Ends(net.namespace("client"), net.namespace("server"))
        net.connect(ends.client, ends.server, "10.201.0.0/24")
        yield ends


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 15.0) -> None:
    """Ask until it is so. Raises TimeoutError that names what did not come."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.01)
