"""100,000 bindings in at most 100 MB. What they cost in time is measured by bench/nat64_state.py."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

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


def resident():
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure():
    """In a process of its own, whose memory has no holes that bindings could fill."""
    gc.collect()
    objects, before = len(gc.get_objects()), resident()
    world = full()
    gc.collect()
    print(json.dumps({"bytes": resident() - before, "objects": len(gc.get_objects()) - objects}))
    assert world.state.count_bindings() == world.state.count_sessions() == COUNT


def test_a_hundred_thousand_bindings_need_little_memory_and_give_the_garbage_collector_nothing_to_walk():
    """However many bindings there are, a full collection sees the same few objects: it cannot stop the server."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    assert 20e6 < measured["bytes"] < 100e6
    assert measured["objects"] < 1000


if __name__ == "__main__":
    measure()
