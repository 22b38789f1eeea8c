"""What hostile peers do to a running server costs the others nothing: every one is answered or dropped, and a client
that transfers meanwhile neither loses its connection nor a ping.

client 0 ── server
stranger ────┘
"""

import asyncio
import contextlib
import json
import os
import random
import re
import socket
import time
from pathlib import Path

import pytest

from tests.netns.stranger import CONTROL, stranger
from vpnrs_core.builtin.vpnrs1 import VpnrsProtocol
from vpnrs_core.errors import VpnrsError
from vpnrs_core.interfaces.engine import QuicSettings
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.testkit.gate import FakeClientLink
from vpnrs_core.testkit.tunnel import SERVER4
from vpnrs_core.wire.capsule import encode_capsule
from vpnrs_core.wire.codepoints import CapsuleType

HELLO = CapsuleType.HELLO.value


def hello(**fields):
    body = {"versions": [1], "method": "token", "nonce": "A" * 43 + "=", "credential": {"bearer": "x"}, **fields}
    return encode_capsule(HELLO, json.dumps(body).encode())


class Good:
    """The client whose service must not suffer: pings without a pause, every one counted."""

    def __init__(self, net):
        self.net = net
        net.server.configure({"quic": {"handshake_deadline": 3}, "session": {"resume_window": 1}})
        net.up(0)
        self.ping = net.client_ns[0].spawn("ping", "-i0.05", SERVER4, stdout=-1, text=True)
        self.pid = net.server.pid
        self.before = self.resources()

    def resources(self):
        """(open descriptors, resident KiB) of the server."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return len(os.listdir(f"/proc/{self.pid}/fd")), int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def check(self):
        """Not one ping lost, no reconnect, nothing of the strangers kept, no exception in the log."""
        self.ping.send_signal(2)
        out, _ = self.ping.communicate(timeout=10)
        sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", out).groups())
        assert sent > 1  # how many, the quickest of the breaches decide
        assert received >= sent - 1  # the last one may be under way
        assert self.net.client.log.count(" connected ") == 1
        assert "Traceback" not in self.net.server.log
        assert "plugin_failed" not in self.net.server.log, self.net.server.log
        self.net.server.wait_for("alone with the good one", lambda s: len(s["server"]["sessions"]) == 1, 10)
        # A status request's own socket closes a moment after its answer.
        self.net.server.wait_for("rid of sockets", lambda _: self.resources()[0] <= self.before[0] + 1, 3)
        memory = self.resources()[1]
        assert memory - self.before[1] < 40_000, f"{memory - self.before[1]} KiB more"


CAPSULES = {
    "no capsule": os.urandom(64),
    "no JSON": encode_capsule(HELLO, b"\xff\xfe{"),
    "deep JSON": encode_capsule(HELLO, b"[" * 16_000),
    "long number": encode_capsule(HELLO, b'{"versions": [' + b"9" * 16_000 + b"]}"),
    "infinite number": encode_capsule(HELLO, b'{"versions": [1e999]}'),
    "oversized": encode_capsule(HELLO, b" " * 20_000),
    "oversized, only said": encode_capsule(HELLO, b"")[:-1] + b"\xc0\0\0\1\0\0\0\0",
    "not the first message": encode_capsule(CapsuleType.PING.value, b'{"id": 1}'),
    "the server's own message": encode_capsule(CapsuleType.WELCOME.value, b"{}"),
    "twice": hello() + hello(),
    "another version": hello(versions=[99]),
    "another method": hello(method="password"),
    "a credential of 16 KB": hello(credential={"bearer": "x" * 15_000}),
    "a credential of no text": hello(credential={"bearer": {"a": [None]}}),
    "a lone surrogate": hello(credential={"bearer": "\ud800"}),
    "a resume of nobody": hello(resume={"session": "x", "generation": 1}),
    "a name that is a line": hello(method="x\n2026 info session_opened principal=root"),
}


async def test_whatever_comes_instead_of_a_request_closes_that_connection_only(tunnel):
    net = tunnel(clients=2)
    good = Good(net)
    ends = {}
    async with stranger(net) as one:
        for name, data in CAPSULES.items():
            connection, heard = await one.open()
            connection.streams.write(CONTROL, data)
            async with asyncio.timeout(6):
                ends[name] = (await heard.end)[0]
    assert all(ends.values()), ends
    assert ends["another version"] == 0x5703
    assert ends["another method"] == 0x5702
    assert ends["oversized"] == ends["no JSON"] == ends["deep JSON"] == ends["twice"] == 0x570A
    assert ends["a lone surrogate"] == 0x570A
    assert ends["a credential of 16 KB"] == 0x5701
    assert "\n2026 info" not in net.server.log
    good.check()


async def test_who_never_asks_and_who_asks_too_slowly_is_let_go_at_the_deadline(tunnel):
    net = tunnel(clients=2)
    good = Good(net)
    async with stranger(net) as one:
        silent, endless, slow = [await one.open() for _ in range(3)]
        endless[0].streams.write(CONTROL, encode_capsule(0x7777, b"")[:-1] + b"\xbf\xff\xff\xff")
        began = time.monotonic()
        text = hello()
        sent = 0
        while not all(heard.end.done() for _, heard in (silent, endless, slow)):
            assert time.monotonic() - began < 6
            with contextlib.suppress(ConnectionError):
                slow[0].streams.write(CONTROL, text[sent : sent + 1])
                endless[0].streams.write(CONTROL, bytes(1000))
            sent += 1
            await asyncio.sleep(0.5)
    good.check()


async def test_datagrams_before_the_request_are_nobodys(tunnel):
    net = tunnel(clients=2)
    good = Good(net)
    async with stranger(net) as one:
        connection, heard = await one.open()
        count, end = 0, time.monotonic() + 2
        while time.monotonic() < end and not heard.end.done():
            count += connection.send([bytes(1000)] * 20)
            await asyncio.sleep(0.002)
        assert count > 100
        async with asyncio.timeout(6):
            await heard.end
    good.check()


async def test_another_protocol_is_refused_in_the_handshake(tunnel):
    net = tunnel(clients=2)
    good = Good(net)
    async with stranger(net) as one:
        for alpns in (("h3",), ("vpnrs/2", "http/1.1")):
            with pytest.raises(VpnrsError):
                await one.dial(*alpns)
    good.check()


def initials(count, address):
    """First flights of clients that never go on."""
    for _ in range(count):
        engine = AioquicEngine().client(QuicSettings(is_client=True, alpns=("vpnrs/1",)))
        engine.connect(address, time.monotonic())
        yield [bytes(packet) for group, _ in engine.transmit(time.monotonic()) for packet in group]


async def test_garbage_and_handshakes_that_stop_half_way_keep_nothing(tunnel):
    net = tunnel(clients=2)
    good = Good(net)
    source = random.Random(1)
    async with stranger(net) as one:
        with one.namespace.entered():
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with end:
            for number in range(5000):
                first = bytes([source.choice((0x00, 0x40, 0x7F, 0x80, 0xC0, 0xC3, 0xFF))])
                end.sendto(first + source.randbytes(source.randrange(1400)), one.address)
                if number % 50 == 0:
                    await asyncio.sleep(0.005)
            for flight in initials(60, one.address):
                for packet in flight:
                    end.sendto(packet, one.address)
                    end.sendto(packet[: len(packet) // 2], one.address)
                    damaged = bytearray(packet)
                    damaged[source.randrange(len(damaged))] ^= 0xFF
                    end.sendto(damaged, one.address)
                await asyncio.sleep(0.01)
            net.client_ns[0].run("ping", "-c5", "-i0.2", "-W3", SERVER4)
            await asyncio.sleep(4)  # past the deadline of handshakes
        connection, heard = await one.open()  # strangers have not locked out those that come properly
        connection.close(0)
        await heard.end
    good.check()


PACKETS = {
    "empty": b"",
    "unknown context": b"\x3f" + bytes(100),
    "unfinished context": b"\xff",
    "no packet": b"\0" + os.urandom(50),
    "cut header": b"\0\x45\0",
    "length too long": b"\0\x45\0\xff\xff" + bytes(60),
    "length too short": b"\0\x45\0\0\4" + bytes(60),
    "header longer than packet": b"\0\x4f\0\0\x18" + bytes(20),
    "endless extension headers": b"\0\x60\0\0\0\x03\xe8\0\x40" + bytes(32) + bytes(1000),
    "version 0": b"\0" + bytes(40),
    "a stranger's source": b"\0\x45\0\0\x14\0\0\0\0\x40\x11\0\0\xc0\0\2\1\x0a\x4d\0\1",
}


async def test_malformed_packets_of_an_admitted_client_are_counted_drops(tunnel):
    net = tunnel(clients=2)
    good = Good(net)
    async with stranger(net) as one:
        connection, _ = await one.dial()
        link = FakeClientLink()
        task = asyncio.ensure_future(VpnrsProtocol().request(connection, one.wish(), link))
        async with asyncio.timeout(5):
            while not link.grants:  # noqa: ASYNC110 - the fake has no event
                await asyncio.sleep(0.01)
        for _ in range(100):
            connection.send(list(PACKETS.values()))
            await asyncio.sleep(0.005)
        drops = net.server.wait_for("done", lambda s: s["drops"].get("malformed", 0) >= 600)["drops"]
        assert drops["unknown_context"] >= 100
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
    good.check()


async def test_an_admitted_client_that_breaks_the_protocol_ends_only_itself(tunnel):
    net = tunnel(clients=2)
    good = Good(net)

    def unused_stream(connection):
        connection.streams.write(connection.streams.open(), b"x")

    def reset(connection):
        connection.streams.reset(CONTROL, 1)

    def end(connection):
        connection.streams.write(CONTROL, b"", end=True)

    def capsule(kind, value):
        return lambda connection: connection.streams.write(CONTROL, encode_capsule(kind, value))

    async with stranger(net) as one:
        for breach in (
            unused_stream,
            reset,
            end,
            capsule(HELLO, b"{}"),
            capsule(CapsuleType.EXT.value, b'{"codec": "nobody", "body": 5}'),
            capsule(CapsuleType.ADDRESS_REQUEST.value, b"\xff" * 100),
            lambda connection: connection.streams.write(CONTROL, os.urandom(3000) + bytes(20_000)),
        ):
            connection, _ = await one.dial()
            link = FakeClientLink()
            task = asyncio.ensure_future(VpnrsProtocol().request(connection, one.wish(), link))
            async with asyncio.timeout(5):
                while not link.grants:  # noqa: ASYNC110 - the fake has no event
                    await asyncio.sleep(0.01)
            breach(connection)
            await asyncio.wait([task], timeout=1)
            task.cancel()
            await asyncio.wait([task])
    good.check()


async def test_questions_without_end_whose_answers_are_not_read_cost_little(tunnel):
    net = tunnel(clients=2)
    good = Good(net)
    async with stranger(net) as one:
        connection, _ = await one.dial()
        link = FakeClientLink()
        task = asyncio.ensure_future(VpnrsProtocol().request(connection, one.wish(), link))
        async with asyncio.timeout(5):
            while not link.grants:  # noqa: ASYNC110 - the fake has no event
                await asyncio.sleep(0.01)
        pings = b"".join(encode_capsule(CapsuleType.PING.value, b'{"id": %d}' % n) for n in range(2000))
        end = time.monotonic() + 2
        while time.monotonic() < end and not task.done():
            if connection.streams.unsent(CONTROL) < 100_000:
                connection.streams.write(CONTROL, pings)
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
    good.check()
