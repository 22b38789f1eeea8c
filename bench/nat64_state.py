"""What 100,000 bindings of a NAT64 cost, the fast path's memory full: memory, time of each step, the longest pause.

A pause is processor time of one call, other processes' left out. The limit of the memory is held by a test as well."""

from __future__ import annotations

import gc
import json
import os
import random
import time
from ipaddress import IPv6Network
from itertools import islice
from types import SimpleNamespace
from typing import NamedTuple

from vpnrs_nat64.control import PAGE, Control, ListRequest
from vpnrs_nat64.nat64 import Nat64
from vpnrs_nat64.prepared import MOST
from vpnrs_nat64.state.model import TCP, UDP
from vpnrs_nat64.state.options import Options
from vpnrs_nat64.state.records import Session
from vpnrs_nat64.state.sessions import Sessions
from vpnrs_nat64.state.tcp import SYN
from vpnrs_nat64.state.tcp import State as TcpState
from vpnrs_nat64.translate.prefix import Prefix

COUNT, CLIENTS = 100_000, 50
SOURCES = tuple(bytes((10, 77, 0, last)) for last in (251, 252, 253, 254))
PREFIX = Prefix(IPv6Network("64:ff9b::/96"))
FAR = bytes((192, 0, 2, 9)) + (443).to_bytes(2, "big")


class Watch:
    """Processor time between two calls, other processes' left out."""

    def __init__(self) -> None:
        self.longest = self.total = 0.0
        self._last = time.thread_time()

    def restart(self) -> None:
        """What came before does not count."""
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


def prepare(state: Sessions) -> Nat64:
    """As many busy sessions as the fast path remembers, in both directions and of both protocols."""
    nat64 = Nat64(PREFIX, SOURCES, state)
    for protocol in (UDP, TCP):
        for raw in islice(state.tables[protocol].by4.values(), MOST):
            session = Session(raw)
            if protocol == TCP:
                session.state = TcpState.EST
            for to_v4 in (True, True, False):
                nat64._prepare(session, to_v4, 1000.0)
    return nat64


class State(NamedTuple):
    """Microseconds each, milliseconds of the longest single step, and megabytes."""

    count: int
    mb: float
    make_us: float
    make_longest_ms: float
    collect_longest_ms: float
    leave_longest_ms: float
    mtu_longest_ms: float
    page_longest_ms: float
    expire_longest_ms: float


def measure() -> State:
    """Of one state that is filled, asked, left by half of its clients, and expires."""
    options = Options(sources=SOURCES, max_bindings=COUNT)
    state = Sessions(options, random.Random(64).randbytes, PREFIX.embed, lambda _: None)
    for owner in range(CLIENTS):
        state.open(owner, 1280)
    gc.collect()
    gc.freeze()
    before = resident()
    filling = Watch()
    fill(state, filling)
    fast = prepare(state)
    memory = (resident() - before) / 1e6
    collecting = Watch()
    for _ in range(5):
        gc.collect()
        collecting()
    del fast
    paging = _pages(state)
    changing = Watch()
    for owner in range(CLIENTS):
        state.set_mtu(owner, 1400)
        changing()
    leaving = Watch()
    for owner in range(CLIENTS // 2):
        state.close(owner)
        leaving()
    expiring = Watch()
    while (at := state.next_time()) is not None:
        state.expire(max(at, 100_000.0))
        expiring()
    longest = (1e3 * watch.longest for watch in (filling, collecting, leaving, changing, paging, expiring))
    return State(COUNT, memory, 1e6 * filling.total / COUNT, *longest)


def _pages(state: Sessions) -> Watch:
    """Every fiftieth page of all bindings, as `vpnrs nat64 bindings` asks for them, and as JSON."""
    control = Control(lambda: SimpleNamespace(state=state), lambda: 1000.0)  # type: ignore[arg-type, return-value]
    watch = Watch()
    for skip in range(0, COUNT, 50 * PAGE):
        watch.restart()
        answering = control.bindings(ListRequest(skip=skip))
        try:
            answering.send(None)
        except StopIteration as done:  # it waits for nothing
            json.dumps(done.value.model_dump(mode="json"))
        watch()
    return watch


def resident() -> int:
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
