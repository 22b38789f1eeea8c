"""100,000 bindings in at most 100 MB. What they cost in time is measured by bench/nat64_state.py."""

import gc
import tracemalloc

from nat64_world import SOURCE, World, remote
from vpnrs_nat64.state.model import TCP, UDP

SOURCES = tuple(SOURCE[:3] + bytes((last,)) for last in (251, 252, 253, 254))
COUNT = 100_000


def full():
    """A state with COUNT bindings of 50 clients, half TCP and half UDP."""
    world = World(owners=range(50), sources=SOURCES, max_bindings=COUNT)
    far = remote("192.0.2.9:443")
    syn = (UDP, 0), (TCP, 2)
    for number in range(COUNT):
        owner, port = number % 50, 1024 + number // 50
        protocol, flags = syn[number // 50 & 1]
        mine = b"\xfd\x77" + bytes(13) + bytes((owner,)) + port.to_bytes(2, "big")
        world.state.outbound(owner, protocol, mine, far, flags, world.now + number / 1000)
    assert world.state.count_bindings() == COUNT
    return world


def test_memory_of_a_hundred_thousand_bindings():
    gc.collect()
    tracemalloc.start()
    try:
        world = full()
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert world.state.count_sessions() == COUNT
    assert used < 100e6


def test_the_garbage_collector_has_nothing_to_walk():
    """However many bindings there are, a full collection sees the same few objects: it cannot stop the server."""
    gc.collect()
    before = len(gc.get_objects())
    world = full()
    gc.collect()
    assert len(gc.get_objects()) - before < 1000
    assert world.state.count_bindings() == COUNT
