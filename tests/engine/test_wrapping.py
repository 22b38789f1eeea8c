"""Wrappers around codecs: order of layers, overhead, repair of losses over a link that loses, and containment."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace

import pytest

from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.engine.codecs import CodecSet
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.errors import PluginError
from vpnrs_core.interfaces import Packet
from vpnrs_core.plugins.registry import Entry
from vpnrs_core.testkit.packets import udp


class Host:
    """A WrapperHost on a clock that the test moves."""

    def __init__(self):
        self.time, self.timers, self.failures = 0.0, [], []

    def now(self):
        return self.time

    def call_at(self, at, act):
        self.timers.append((at, act))

    def failed(self, name, where, error):
        self.failures.append((name, where, str(error)))

    def advance(self, to):
        self.time = to
        due, self.timers = [t for t in self.timers if t[0] <= to], [t for t in self.timers if t[0] > to]
        for _, act in sorted(due, key=lambda t: t[0]):
            act()


class Lane:
    NAME = "datagram"

    def __init__(self, lose=()):
        self.sent, self.lose, self.count = [], set(lose), 0

    def max_payload(self):
        return 1300

    def room(self):
        return 1 << 20

    def send(self, payloads):
        for payload in payloads:
            if self.count not in self.lose:
                self.sent.append(payload)
            self.count += 1
        return len(payloads)

    def take(self):
        taken, self.sent = self.sent, []
        return taken


class Mark:
    """Adds one byte, and takes it away."""

    NAME, OVERHEAD, SCOPE = "mark", 1, "link"

    def __init__(self, byte=b"M"):
        self.byte = byte

    def wrapper(self):
        return self

    def wrap(self, datagram, now, out):
        out.send(self.byte + datagram)

    def unwrap(self, datagram, now, out):
        assert datagram[:1] == self.byte
        return datagram[1:]

    def on_message(self, body, now, out): ...
    def on_wake(self, now, out): ...


class Repair:
    """Numbers datagrams; asks for those that are missing 10 ms later; repeats what it is asked for."""

    NAME, OVERHEAD, SCOPE = "repair", 4, "session"

    def wrapper(self):
        return _Repair()


class _Repair:
    def __init__(self):
        self.next, self.sent, self.expected, self.missing = 0, OrderedDict(), 0, set()

    def wrap(self, datagram, now, out):
        numbered = self.next.to_bytes(4, "big") + datagram
        self.sent[self.next] = numbered
        self.next += 1
        out.send(numbered)

    def unwrap(self, datagram, now, out):
        number = int.from_bytes(datagram[:4], "big")
        if number < self.expected and number not in self.missing:
            return None
        self.missing.discard(number)
        self.missing.update(range(self.expected, number))
        self.expected = max(self.expected, number + 1)
        if self.missing:
            out.wake_at(now + 0.01)
        return datagram[4:]

    def on_wake(self, now, out):
        out.message(b"".join(n.to_bytes(4, "big") for n in sorted(self.missing)))

    def on_message(self, body, now, out):
        for at in range(0, len(body), 4):
            out.send(self.sent[int.from_bytes(body[at : at + 4], "big")])


def pair(factories, lose=(), prefix=b""):
    """Two link ends with these wrappers; what `near` sends may be lost. Messages between them are delivered at once."""
    host, ends, contexts = Host(), [], {"plain": 0} | {f.NAME: 16 + 2 * i for i, f in enumerate(factories)}
    codecs = CodecSet(
        [Entry("plain", "core", PlainCodec()), *(Entry(f.NAME, "plugin", f) for f in factories)], frozenset(), host
    )

    def message_to(index):
        return lambda name, body: ends[index].heard(name, body)

    for index, lane in enumerate((Lane(lose), Lane())):
        ends.append(
            codecs.link(
                SimpleNamespace(), lane, contexts, frozenset(), {}, prefix=prefix, send_message=message_to(1 - index)
            )
        )
    return host, *ends


def packets(count):
    return [Packet.of(udp("10.77.0.2", "10.77.0.1", b"x" * 100, sport=1000 + n)) for n in range(count)]


def drop(reason):
    raise AssertionError(f"dropped: {reason}")


def test_layers_are_applied_in_order_and_taken_off_in_reverse():
    inner, outer = Mark(b"I"), Mark(b"O")
    outer.NAME = "outer"
    host, near, far = pair([inner, outer], prefix=b"\x05")
    (packet,) = packets(1)
    assert near.send(packet)
    (payload,) = near.lane.take()
    assert payload == b"\x05" + bytes([18]) + b"O" + bytes([16]) + b"I" + b"\0" + packet.data
    (arrived,) = far.decode([payload[1:]], drop)
    assert arrived.data == packet.data
    assert not host.failures


def test_overhead_of_wrappers_is_taken_from_what_a_packet_may_be():
    _, bare, _ = pair([])
    _, near, _ = pair([Mark()], prefix=b"\x05")
    assert bare.max_payload() - near.max_payload() == 1 + 1 + 1  # the byte, the context id, the prefix
    room = near.max_payload()
    fits, too_big = (Packet.of(udp("10.77.0.2", "10.77.0.1", b"x" * (n - 28))) for n in (room, room + 1))
    assert near.send(fits)
    assert not near.send(too_big)
    assert max(map(len, near.lane.take())) == near.lane.max_payload()


def test_repair_brings_back_what_the_path_lost_without_waiting_for_it():
    host, near, far = pair([Repair()], lose={1, 2, 5})
    sent = packets(8)
    for packet in sent:
        assert near.send(packet)
    late = []
    far.late = lambda payloads: late.extend(far.decode_unwrapped(payloads, drop))
    on_time = far.decode(near.lane.take(), drop)
    assert [p.data for p in on_time] == [p.data for n, p in enumerate(sent) if n not in (1, 2, 5)]
    host.advance(0.02)  # the far end asks on its control stream, the near end repeats
    repeated = far.decode(near.lane.take(), drop)
    assert [p.data for p in repeated] == [sent[n].data for n in (1, 2, 5)]
    assert not late
    assert not host.failures


def test_a_wrapper_that_raises_loses_its_datagram_and_is_named():
    class Raising(Mark):
        def unwrap(self, datagram, now, out):
            raise RuntimeError("broken")

    host, near, far = pair([Raising()])
    assert near.send(packets(1)[0])
    assert far.decode(near.lane.take(), drop) == []
    assert host.failures == [("mark", "unwrap", "broken")]


def test_an_unwrapped_payload_is_not_let_through_where_a_wrapper_was_agreed_on():
    host, _, far = pair([Mark()])
    assert far.decode([b"\0" + packets(1)[0].data], drop) == []
    assert [name for name, _, _ in host.failures] == ["mark"]


def test_a_session_wrapper_outlives_its_link_and_a_link_wrapper_does_not():
    host = Host()
    for scope, kept_size in (("session", 1), ("link", 0)):
        made = []

        class Counting(Mark):
            NAME, SCOPE = "counting", scope

            def wrapper(self, made=made):
                made.append(Mark())
                return made[-1]

        codecs = CodecSet([Entry("plain", "core", PlainCodec()), Entry("counting", "p", Counting())], frozenset(), host)
        kept = {}
        for _ in range(2):
            codecs.link(SimpleNamespace(), Lane(), {"plain": 0, "counting": 16}, frozenset(), kept)
        assert (len(kept), len(made)) == (kept_size, 2 - kept_size)


def test_a_timer_after_the_link_has_gone_finds_nothing_to_do():
    host, near, far = pair([Repair()], lose={0})
    for packet in packets(2):
        near.send(packet)
    far.decode(near.lane.take(), drop)
    near.close()
    far.close()
    host.advance(1.0)
    assert near.lane.take() == []
    assert not host.failures


def test_a_codec_that_is_neither_packet_codec_nor_wrapper_refuses_the_start():
    with pytest.raises(PluginError, match="plugin odd: datagram codec odd has neither"):
        CodecSet([Entry("odd", "odd", SimpleNamespace(NAME="odd"))], frozenset(), Host())


def test_a_link_without_wrappers_pays_nothing_for_them():
    _, near, _ = pair([])
    assert isinstance(near, LinkPort)
    assert near._wrapping is None
