"""The prober over a connection: what it sends, what it answers, and a peer that knows nothing of it."""

import asyncio
from itertools import pairwise

from vpnrs_core.builtin.lanes import DatagramLane
from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.engine.codecs import CodecSet
from vpnrs_core.engine.prober import HEAD
from vpnrs_core.interfaces import PayloadSizes
from vpnrs_core.plugins.registry import Entry
from vpnrs_core.session.negotiation import negotiate
from vpnrs_core.testkit.connection import FakeConnection, FakePath


class Probed(FakeConnection):
    """interfaces.ProbedPath besides; carries probes of up to `carries` bytes to the `other` end's link."""

    def __init__(self, carries):
        loop = asyncio.get_running_loop()
        super().__init__("192.0.2.1:1", True, FakePath(datagram_size=1292), loop.call_later, "vpnrs/1")
        self.carries, self.used, self.probed = carries, [], []
        self.deliver_probe = lambda probe: None

    def payload_sizes(self):
        return PayloadSizes(1324, 1472, 28)

    def use_payload(self, size, *, settled):
        self.used.append((size, settled))

    def probe(self, head, size):
        self.probed.append(size)
        if size <= self.carries:
            asyncio.get_running_loop().call_soon(self.deliver_probe, head.ljust(size - 30, b"\0"))

    def path_rtt(self):
        return 0.001

    def path_hint(self):
        return None


def link(connection, theirs, tell=None):
    codecs = CodecSet([Entry("plain", "core", PlainCodec())], frozenset(), None)
    return codecs.link(
        connection, DatagramLane(connection), negotiate(codecs.names, theirs), frozenset(), {}, send_message=tell
    )


def no_drop(reason):
    raise AssertionError(reason)


async def search(carries):
    """Two links whose probes and answers cross → the first one's connection, once it knows."""
    near, far = Probed(carries), Probed(carries)
    one = link(near, ["probe"], lambda codec, body: None)
    other = link(far, ["probe"], one.heard)
    near.deliver_probe = lambda probe: other.decode([probe], no_drop)
    known = asyncio.Event()
    assert one.start_probing(lambda: known.set() if near.used[-1][1] else None)
    async with asyncio.timeout(20):
        await known.wait()
    one.close()
    other.close()
    return near


async def test_the_answers_of_the_other_end_end_the_search():
    near = await search(1472)
    assert near.used == [(1472, True)]
    assert near.probed == [1200, 1324, 1472]


async def test_a_smaller_path_is_found_and_used_step_by_step():
    near = await search(1400)
    assert near.used[-1] == (1400, True)
    assert all(before <= after for (before, _), (after, _) in pairwise(near.used))


async def test_a_peer_that_knows_nothing_of_probes_gets_none_and_the_size_of_the_start():
    near = Probed(1472)
    port = link(near, ["plain", "segments"])
    assert port.prober is None
    assert not port.start_probing(lambda: None)
    assert port.size_known
    assert near.used == [(1324, True)]
    assert near.probed == []


async def test_what_is_no_probe_is_answered_by_nothing():
    told = []
    port = link(Probed(1472), ["probe"], lambda codec, body: told.append(body))
    assert port.decode([HEAD, HEAD + b"\1", HEAD + b"\xff"], no_drop) == []
    port.heard("probe", b"\1\2\xff")
    assert told == []
    port.decode([HEAD + b"\1\2" + bytes(9)], no_drop)
    assert told == [b"\1\2"]
    port.close()
