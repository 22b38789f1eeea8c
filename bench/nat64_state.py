"""What 100,000 bindings of a NAT64 cost: time of each step, the longest pause. `.venv/bin/python bench/nat64_state.py`.

The memory of as many bindings is held by a test; a pause is a figure of the machine and stands here."""

from __future__ import annotations

import gc
import random
import time
from ipaddress import IPv6Network

from vpnrs_nat64.state.model import TCP, UDP
from vpnrs_nat64.state.options import Options
from vpnrs_nat64.state.sessions import Sessions
from vpnrs_nat64.state.tcp import SYN
from vpnrs_nat64.translate.prefix import Prefix

COUNT, CLIENTS = 100_000, 50
SOURCES = tuple(bytes((10, 77, 0, last)) for last in (251, 252, 253, 254))
FAR = bytes((192, 0, 2, 9)) + (443).to_bytes(2, "big")


class Watch:
    """Processor time between two calls, other processes' left out."""

    def __init__(self) -> None:
        self.longest = self.total = 0.0
        self._last = time.thread_time()

    def __call__(self) -> None:
        took = time.thread_time() - self._last
        self.longest = max(self.longest, took)
        self.total += took
        self._last = time.thread_time()


def fill(state: Sessions, watch: Watch) -> None:
    """COUNT bindings, half TCP and half UDP."""
    for number in range(COUNT):
        owner, port = number % CLIENTS, 1024 + number // CLIENTS
        protocol, flags = ((UDP, 0), (TCP, SYN))[number // CLIENTS & 1]
        mine = b"\xfd\x77" + bytes(13) + bytes((owner,)) + port.to_bytes(2, "big")
        state.outbound(owner, protocol, mine, FAR, flags, 1000.0 + number / 1000)
        watch()


def main() -> None:
    options = Options(sources=SOURCES, max_bindings=COUNT)
    state = Sessions(options, random.Random(64).randbytes, Prefix(IPv6Network("64:ff9b::/96")).embed, lambda _: None)
    for owner in range(CLIENTS):
        state.open(owner, 1280)
    gc.collect()
    gc.freeze()
    filling, leaving, expiring = Watch(), Watch(), Watch()
    fill(state, filling)
    leaving = Watch()
    for owner in range(CLIENTS // 2):
        state.close(owner)
        leaving()
    expiring = Watch()
    while state.next_time() is not None:
        state.expire(100_000.0)
        expiring()
    for what, watch, steps in (("make", filling, COUNT), ("leave, a client", leaving, CLIENTS // 2)):
        print(f"{what:20} {1e6 * watch.total / steps:10.2f} µs each, longest {1e3 * watch.longest:6.2f} ms")
    print(f"{'expire the rest':20} {1e3 * expiring.total:10.2f} ms in all, longest {1e3 * expiring.longest:6.2f} ms")


if __name__ == "__main__":
    main()
