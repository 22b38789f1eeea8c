"""The attacks, each bounded in count and time. Each does its worst, and then says what the server must have counted."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from ipaddress import ip_network
from typing import Any

from tests.attack.field import SOURCES, Field
from tests.netns.stranger import CONTROL, Stranger, TokenHalf
from vpnrs_core.builtin.vpnrs1 import VpnrsProtocol
from vpnrs_core.engine.backoff import LONGEST_SPREAD
from vpnrs_core.interfaces import ClientRequest, Code, Granted, Offer, Refuse, ResumeTicket
from vpnrs_core.interfaces.engine import QuicSettings
from vpnrs_core.packet.cut import cut
from vpnrs_core.packet.kinds import ALL_KINDS
from vpnrs_core.packet.vnet import VNET
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.testkit.gate import FakeClientLink
from vpnrs_core.testkit.packets import echo, super_tcp, super_udp, udp
from vpnrs_core.testkit.traffic import ping
from vpnrs_core.testkit.tunnel import SERVER4, SERVER6
from vpnrs_core.wire.addresses import AddressRequest, PrefixEntry
from vpnrs_core.wire.capsule import encode_capsule
from vpnrs_core.wire.codepoints import CLOSE_CODES, CapsuleType
from vpnrs_core.wire.messages import Ext, Ping, encode_message

PATIENCE = 10.0
ALL_CODECS = Offer(("segments", "offload", "plain"), ALL_KINDS)
WRONG = "vpnrs_4k7w2m9x_" + "A" * 33 + "000000"


class Link(FakeClientLink):
    """Says when it is granted."""

    def __init__(self) -> None:
        super().__init__()
        self.up = asyncio.Event()

    def granted(self, granted: Granted, lane: Any, control: Any) -> None:
        super().granted(granted, lane, control)
        self.up.set()


class Inside:
    """A session of an attacker who has a token."""

    def __init__(self, connection: Any, task: asyncio.Task[Refuse | None], link: Link) -> None:
        self.connection, self.task, self.link = connection, task, link

    @property
    def granted(self) -> Granted:
        return self.link.grants[0]

    @property
    def own(self) -> tuple[str, str]:
        """Its IPv4 and IPv6 address."""
        four, six = sorted((str(address) for address, _ in self.granted.addresses), key=lambda text: ":" in text)
        return four, six

    def control(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.connection.streams.write(CONTROL, data)

    async def send(self, payloads: Sequence[bytes], times: int = 1) -> None:
        """Every payload leaves, as far as the path takes it."""
        waiting = list(payloads) * times
        end = time.monotonic() + PATIENCE
        while waiting and time.monotonic() < end and not self.task.done():
            del waiting[: self.connection.send(waiting[:50])]
            await asyncio.sleep(0.002)

    async def ended(self) -> Refuse | None:
        """The server has had enough → why."""
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(self.task)

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task], timeout=PATIENCE)


class Deaf:
    """interfaces.ConnectionEvents that takes no notice but of the end, with its code."""

    def __init__(self) -> None:
        self.end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def stream_data(self, stream: int, data: bytes, end: bool) -> None: ...
    def stream_reset(self, stream: int, code: int) -> None: ...
    def datagrams(self, batch: Sequence[bytes]) -> None: ...
    def writable(self) -> None: ...
    def path_changed(self, path: object) -> None: ...

    def closed(self, code: int, reason: str) -> None:
        self.end.set_result(code)


async def ask(one: Stranger, token: str | None = None, **keys: Any) -> Inside | Refuse:
    """A session, or why there is none."""
    connection, _ = await one.dial()
    link = Link()
    wish = ClientRequest("token", TokenHalf(token or one.token), **{"offer": ALL_CODECS, **keys})
    task = asyncio.ensure_future(VpnrsProtocol().request(connection, wish, link))
    up = asyncio.ensure_future(link.up.wait())
    await asyncio.wait([task, up], return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
    up.cancel()
    if link.grants:
        return Inside(connection, task, link)
    refused = await task
    assert isinstance(refused, Refuse)
    return refused


@contextlib.asynccontextmanager
async def inside(one: Stranger, **keys: Any) -> AsyncIterator[Inside]:
    session = await ask(one, **keys)
    assert isinstance(session, Inside), session
    try:
        yield session
    finally:
        await session.leave()


async def told(true: Callable[[], object]) -> None:
    """The server's status says so, soon."""
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(true):  # noqa: ASYNC110 - the status has no event
            await asyncio.sleep(0.05)


def context(session: Inside, codec: str) -> bytes:
    return bytes([session.granted.contexts[codec]])


# With a credential


async def a_peer_that_spoofs(field: Field, one: Stranger) -> None:
    """The server's addresses, the good client's, strangers', and errors in their name."""
    before = field.drops("source")
    sources = [SERVER4, SERVER6, *field.good["addresses"], "203.0.113.5", "2001:db8::5", "10.77.0.200"]
    forged = [udp(s, SERVER6 if ":" in s else SERVER4, b"forged", dport=9) for s in sources]
    forged += [echo(s, SERVER6 if ":" in s else SERVER4, reply=True) for s in sources]
    async with inside(one) as session:
        await session.send([b"\0" + packet for packet in forged], times=20)
        await told(lambda: field.drops("source") >= before + len(forged) * 15)
        mine = next(s for s in field.sessions() if s["id"] == session.granted.session)
        assert mine["drops"]["source"] >= len(forged) * 15


async def a_peer_that_asks_for_everybodys_prefixes(field: Field, one: Stranger) -> None:
    """Nested and foreign networks, in HELLO and later: it gets one address of each family, and no other's packets."""
    wanted = [
        ip_network(n) for n in ("0.0.0.0/0", "10.77.0.0/24", f"{field.good['addresses'][0]}/32", "::/0", "fd77::/64")
    ]
    before = field.drops("source")
    async with inside(one, wanted=wanted) as session:
        assert len(session.granted.addresses) == 2
        assert not set(session.own) & {*field.good["addresses"], SERVER4, SERVER6}
        session.control(encode_message(AddressRequest(tuple(PrefixEntry(n + 1, w) for n, w in enumerate(wanted)))))
        await session.send([b"\0" + udp("10.77.0.99", SERVER4, b"nested")], times=20)
        await told(lambda: field.drops("source") > before)
        [mine] = [s for s in field.sessions() if s["id"] == session.granted.session]
        assert sorted(mine["addresses"]) == sorted(session.own)
        assert len(session.link.changes) <= 1


async def a_peer_that_forges_vnet_headers(field: Field, one: Stranger) -> None:
    """Checksums that would be written over ports and addresses, segments that lie about their size, number, index."""
    before, rng = field.drops("bad_offload"), random.Random(1)
    async with inside(one) as session:
        four, six = session.own
        sound = [*cut(super_tcp(four, SERVER4, bytes(2500), 900)), *cut(super_udp(six, SERVER6, bytes(2000), 900))]
        lone = [super_tcp(four, SERVER4, b"x", 900).frame]
        forged = []
        for _ in range(600):
            codec, at, data = rng.choice([("segments", 1, rng.choice(sound)), ("offload", 0, lone[0])])
            vnet = list(VNET.unpack_from(data, at))
            vnet[rng.choice((0, 1, 3, 4, 5))] = rng.choice((0, 1, 2, 4, 5, 0x81, 0xFF))
            index = bytes([rng.choice((0, 200, 255))]) if at and rng.random() < 0.3 else data[:at]
            forged.append(context(session, codec) + index + VNET.pack(*vnet) + data[at + VNET.size :])
        await session.send(forged)
        await told(lambda: field.drops("bad_offload") > before + 200)


async def let_go(session: Inside, flood: bytes) -> None:
    """Writes to the control stream until the server has had enough. Its own side judges nothing meanwhile: it, too,
    would have had enough of a server that reads so little."""
    deaf = Deaf()
    session.connection.listen(deaf)
    end = time.monotonic() + PATIENCE
    while not deaf.end.done() and time.monotonic() < end:
        if session.connection.streams.unsent(CONTROL) < 500_000:
            session.control(flood)
        await asyncio.sleep(0.01)
    assert deaf.end.done()
    assert deaf.end.result() == CLOSE_CODES[Code.PROTOCOL]


async def a_peer_that_floods_the_control_stream(field: Field, one: Stranger) -> None:
    """Questions, messages for nobody, unknown types, requests for addresses: thousands of each."""
    request = AddressRequest((PrefixEntry(1, ip_network("10.77.0.0/24")),))
    for flood in (Ping(id=1), Ext(codec="nobody", body=b"x" * 50), request, encode_capsule(0x7777, b"")):
        async with inside(one) as session:
            piece = flood if isinstance(flood, bytes) else encode_message(flood)
            await let_go(session, piece * 2000)


async def a_peer_that_sends_datagrams_of_no_size_and_of_any(field: Field, one: Stranger) -> None:
    """Empty ones, one byte, cut headers, lengths that lie, and packets larger than the tunnel carries."""
    before = {reason: field.drops(reason) for reason in ("malformed", "unknown_context")}
    async with inside(one) as session:
        four, _ = session.own
        largest = session.connection.max_datagram()
        odd = [b"", b"\0", b"\x3f", b"\xff", b"\0\x45", b"\0" + bytes(40), b"\0\x45\0\xff\xff" + bytes(60)]
        odd += [b"\x3f" * largest, (b"\0" + udp(four, SERVER4, bytes(largest - 29)))[:largest]]
        await session.send(odd, times=50)
        await told(lambda: all(field.drops(reason) > n + 50 for reason, n in before.items()))
    async with inside(one, lane="stream") as session:
        lane = session.connection.streams.open()
        payloads = (b"", b"\0", b"\0" + bytes(65_000))
        session.connection.streams.write(lane, b"".join(encode_capsule(0, p) for p in payloads) * 5)
        session.connection.streams.write(lane, encode_capsule(0, bytes(65_601)))
        assert await session.ended() is not None


async def a_peer_with_streams_without_end(field: Field, one: Stranger) -> None:
    """A hundred streams that nobody uses; a capsule that never ends; one that says it is larger than all memory."""
    async with inside(one) as session:
        for number in range(100):
            with contextlib.suppress(ConnectionError):
                stream = session.connection.streams.open(unidirectional=bool(number % 2))
                session.connection.streams.write(stream, bytes(1000))
        refused = await session.ended()
        assert refused is not None
        assert refused.code is Code.PROTOCOL
    for kind in (0x7777, CapsuleType.EXT.value):
        async with inside(one) as session:
            session.control(encode_capsule(kind, b"")[:-1] + b"\xff" * 8)
            await let_go(session, bytes(100_000))


async def a_peer_that_never_reads(field: Field, one: Stranger) -> None:
    """It takes nothing from its socket while the server's host floods its address: its own queue overflows."""
    async with inside(one) as session:
        four, _ = session.own
        driver = session.connection._driver
        asyncio.get_running_loop().remove_reader(driver._socket.fileno())
        await asyncio.to_thread(_flood, field, four)
        mine = next(s for s in field.sessions() if s["id"] == session.granted.session)
        assert mine["queue_bytes"] <= 1_100_000
        assert mine["drops"].get("queue_overflow", 0) + mine["drops"].get("queue_delay", 0) > 100
        asyncio.get_running_loop().add_reader(driver._socket.fileno(), driver._readable)


def _flood(field: Field, address: str) -> None:
    with field.net.server_ns.entered():
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with end:
        for number in range(8000):
            with contextlib.suppress(BlockingIOError):
                end.sendto(bytes(1200), (address, 9))
            if number % 200 == 0:
                time.sleep(0.005)


async def a_peer_that_never_answers_pings(field: Field, one: Stranger) -> None:
    """It talks, and says nothing to what it is asked: it is served and nobody waits for it."""
    async with inside(one) as session:
        session.connection.listen(Deaf())
        four, _ = session.own
        await session.send([b"\0" + udp(four, SERVER4, b"talks", dport=9)], times=50)
        mine = next(s for s in field.sessions() if s["id"] == session.granted.session)
        assert mine["ingress"]["packets"] >= 40


async def a_peer_that_resumes_other_peoples_sessions(field: Field, one: Stranger) -> None:
    """It knows the good client's session and generation, and guesses the secret: it gets a session of its own."""
    for number in range(3):
        ticket = ResumeTicket(field.good["id"], bytes([number]) * 32, number)
        async with inside(one, resume=ticket) as session:
            assert not session.granted.resumed
            assert session.granted.session != field.good["id"]
            assert session.granted.principal == "client1"


async def a_peer_that_takes_every_place(field: Field, one: Stranger) -> None:
    """It opens sessions until it is refused; somebody else still gets one."""
    held: list[Inside] = []
    for _ in range(10):
        answer = await ask(one)
        if isinstance(answer, Refuse):
            assert answer.code is Code.SERVER_FULL
            break
        held.append(answer)
    assert len(held) == 6
    async with inside(one, token=field.carol_token) as carol:
        assert carol.granted.principal == "carol"
    for session in held:
        await session.leave()


# Without one


def _initial(address: tuple[str, int]) -> bytes:
    engine = AioquicEngine().client(QuicSettings(is_client=True, alpns=("vpnrs/1",)))
    engine.connect(address, time.monotonic())
    return bytes(engine.transmit(time.monotonic())[0][0][0])


def _from_everywhere(field: Field, packets: Sequence[bytes], address: tuple[str, int], pause: float) -> None:
    """Each packet from the next of many sources."""
    with field.net.client_ns[1].entered():
        ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in SOURCES]
        for end, source in zip(ends, SOURCES, strict=True):
            end.bind((source, 0))
    try:
        for number, packet in enumerate(packets):
            ends[number % len(ends)].sendto(packet, address)
            if number % 20 == 0:
                time.sleep(pause)
    finally:
        for end in ends:
            end.close()


async def strangers_that_only_ever_begin(field: Field, one: Stranger) -> None:
    """2,000 first packets from 127 sources: beyond the threshold each gets a Retry, and takes no place."""
    before, places = field.door("retry"), field.door("accepted")
    packets = [_initial(one.address) for _ in range(40)] * 50
    await asyncio.to_thread(_from_everywhere, field, packets, one.address, 0.01)
    await told(lambda: field.door("retry") + field.door("no_budget") > before + 500)
    assert field.door("retry") > before
    assert field.door("accepted") - places < 100
    assert field.door("waiting") <= 64


async def garbage_and_handshakes_that_stop_half_way(field: Field, one: Stranger) -> None:
    """Noise, halves of packets, damaged ones, versions that nobody speaks, packets that are too small."""
    rng = random.Random(2)
    first = _initial(one.address)
    packets = [rng.randbytes(rng.randrange(1, 1400)) for _ in range(1000)]
    packets += [bytes([rng.choice((0x40, 0xC0, 0xE3))]) + rng.randbytes(1300) for _ in range(500)]
    packets += [first[: len(first) // 2], first[:1] + b"\x1a\x2a\x3a\x4a" + first[5:], first[:1] + bytes(4) + first[5:]]
    for _ in range(100):
        damaged = bytearray(first)
        damaged[rng.randrange(len(damaged))] ^= 0xFF
        packets.append(bytes(damaged))
    await asyncio.to_thread(_from_everywhere, field, packets, one.address, 0.005)
    await told(lambda: all(field.door(what) for what in ("malformed", "too_small", "unknown_connection")))
    await told(lambda: field.door("version_negotiation"))


async def strangers_that_never_ask(field: Field, one: Stranger) -> None:
    """Whole handshakes, then silence, a stream of one byte at a time, or datagrams for nobody: gone at the deadline."""
    before = field.door("never_authenticated")
    opened = [await one.open() for _ in range(3)]
    end = time.monotonic() + PATIENCE
    while not all(heard.end.done() for _, heard in opened) and time.monotonic() < end:
        opened[1][0].send([bytes(1000)] * 20)
        with contextlib.suppress(ConnectionError):
            opened[2][0].streams.write(CONTROL, b"\x40")
        await asyncio.sleep(0.1)
    assert all(heard.end.done() for _, heard in opened)
    await told(lambda: field.door("never_authenticated") >= before + 3)


async def strangers_that_guess_tokens(field: Field, one: Stranger) -> None:
    """The same wrong token again and again, then others, until nobody new is let in for a while; who resumes is."""
    carol = await ask(one, token=field.carol_token)
    assert isinstance(carol, Inside)
    ticket = carol.granted.resume
    carol.connection.close(0x5700, "gone")
    codes = [(await _refused(one, WRONG)).code for _ in range(6)]
    assert codes == [Code.AUTH_FAILED] * 5 + [Code.BLOCKED]
    last = None
    for number in range(20):
        last = await _refused(one, f"vpnrs_wrong{number}")
        if last.code is Code.BLOCKED:
            break
    assert last is not None
    assert last.code is Code.BLOCKED
    assert last.retry_after is not None
    assert 500 < last.retry_after <= 600
    refused = await _refused(one, field.carol_token)
    assert refused.code is Code.BLOCKED
    async with inside(one, token=field.carol_token, resume=ticket) as again:
        assert again.granted.resumed
    await asyncio.to_thread(_a_new_client_waits_as_long_as_it_is_asked_to, field)
    field.net.vpnrs("ratelimit", "unblock", "global", "--instance", "server")
    async with inside(one, token=field.carol_token):
        pass


def _a_new_client_waits_as_long_as_it_is_asked_to(field: Field) -> None:
    """One with a good token, that comes for the first time."""
    client = field.net.clients[1]
    client.start()
    waiting = client.wait_state("waiting", 60)["client"]
    assert "blocked" in waiting["last_error"]
    assert "to be tried again after" in waiting["last_error"]
    assert 500 < waiting["next_try_seconds"] <= 600 + LONGEST_SPREAD
    assert client.stop() == 0


async def _refused(one: Stranger, token: str) -> Refuse:
    answer = await ask(one, token=token)
    assert isinstance(answer, Refuse)
    return answer


async def the_good_client_still_has_its_ping(field: Field, one: Stranger) -> None:
    """No attack: the tunnel answers at once, between and after them."""
    await asyncio.to_thread(ping, field.net.client_ns[0], SERVER4, count=5)


Case = Callable[[Field, Stranger], Awaitable[None]]
# Guessing comes late: it keeps everybody new out for a while.
CASES: Sequence[Case] = (
    a_peer_that_spoofs,
    a_peer_that_asks_for_everybodys_prefixes,
    a_peer_that_forges_vnet_headers,
    a_peer_that_floods_the_control_stream,
    a_peer_that_sends_datagrams_of_no_size_and_of_any,
    a_peer_with_streams_without_end,
    a_peer_that_never_reads,
    a_peer_that_never_answers_pings,
    a_peer_that_resumes_other_peoples_sessions,
    a_peer_that_takes_every_place,
    the_good_client_still_has_its_ping,
    garbage_and_handshakes_that_stop_half_way,
    strangers_that_never_ask,
    strangers_that_guess_tokens,
    strangers_that_only_ever_begin,
)
