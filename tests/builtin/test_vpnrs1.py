"""`vpnrs/1` from connection to connection on fakes: what both sides do, in time that the test holds."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnrs_core.builtin.vpnrs1 import VpnrsProtocol
from vpnrs_core.errors import HostError, PeerError, PluginError
from vpnrs_core.interfaces.authenticator import Bearer, Body, PeerKey
from vpnrs_core.interfaces.common import Code, Refuse
from vpnrs_core.interfaces.protocol import ClientRequest, Granted, LinkControl, Offer, ResumeTicket
from vpnrs_core.interfaces.transport import Lane, PathFacts, PeerIdentity
from vpnrs_core.session.resume import ResumeSecrets, channel
from vpnrs_core.testkit.clock import ClockLoop, on_clock, run
from vpnrs_core.testkit.connection import SERVER_SPKI, FakePath, connection_pair
from vpnrs_core.testkit.gate import GRANTED, FakeClientLink, FakeGate
from vpnrs_core.wire.addresses import UNSPECIFIED, AddressRequest, PrefixEntry
from vpnrs_core.wire.capsule import CapsuleParser, encode_capsule
from vpnrs_core.wire.codepoints import (
    CLOSE_CODES,
    CLOSE_DEAD,
    CONTROL_LIMITS,
    CONTROL_STREAM,
    LANE_STREAM,
    CapsuleType,
)
from vpnrs_core.wire.messages import (
    Close,
    Control,
    Ext,
    Hello,
    Ping,
    Pong,
    RejectMessage,
    decode_message,
    encode_message,
)
from vpnrs_core.wire.varint import MAX_VARINT, encode_varint

NO = Refuse(Code.AUTH_FAILED, detail="no such token")


class Half:
    """The client half of a method, with a credential and answers that a test chooses."""

    def __init__(self, credential: Mapping[str, Any] | None = None, answer: Any = None) -> None:
        self._credential = {"bearer": "token"} if credential is None else credential
        self._answer = answer
        self.channels: list[bytes] = []

    async def prepare(self) -> None: ...
    def start(self) -> Mapping[str, Any]:
        return self._credential

    def answer(self, challenge: Mapping[str, Any], channel: bytes) -> Mapping[str, Any]:
        self.channels.append(channel)
        if isinstance(self._answer, Exception):
            raise self._answer
        return {"to": challenge}

    def refused(self, code: Code) -> bool:
        return False


def numbered() -> Callable[[int], bytes]:
    numbers = itertools.count(1)
    return lambda n: next(numbers).to_bytes(n, "big")


class Pair:
    """A client and a server of `vpnrs/1` on linked connections."""

    def __init__(self, gate: FakeGate | None = None, path: FakePath | None = None, **wish: Any) -> None:
        self.path = path or FakePath()
        self.gate = gate or FakeGate()
        self.client, self.server = connection_pair(self.path)
        self.link = FakeClientLink()
        self.half = wish.pop("half", None) or Half()
        self.wish = ClientRequest("token", self.half, **wish)
        self.protocol = VpnrsProtocol(numbered())

    def start(self) -> "Pair":
        self.serving = asyncio.create_task(self.protocol.serve(self.server, self.gate))
        self.requesting = asyncio.create_task(self.protocol.request(self.client, self.wish, self.link))
        return self

    async def open(self) -> "Pair":
        self.start()
        await asyncio.sleep(0.5)
        assert len(self.link.grants) == 1
        return self

    async def ended(self) -> Refuse | None:
        """Both sides came to an end → what `request` returned. Every link that was opened was closed once."""
        await asyncio.wait([self.serving, self.requesting])
        assert self.serving.exception() is None
        assert all(len(link.closings) == 1 for link in self.gate.links)
        assert self.client.closed_with is not None
        assert self.server.closed_with is not None
        return await self.requesting

    async def stop(self) -> None:
        self.requesting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.ended()

    @property
    def closing(self) -> tuple[str, bool]:
        [closing] = self.gate.links[0].closings
        return closing

    @property
    def lane(self) -> Lane:
        assert self.link.lane is not None
        return self.link.lane

    @property
    def control(self) -> LinkControl:
        assert self.link.control is not None
        return self.link.control


class RawPeer:
    """A client that says what a test wants on its streams, and remembers the answers."""

    def __init__(self, gate: FakeGate | None = None) -> None:
        self.gate = gate or FakeGate()
        self.client, self.server = connection_pair()
        self.heard: list[Control] = []
        self._parser = CapsuleParser(CONTROL_LIMITS)
        self.client.listen(self)
        self.client.streams.open()
        self.serving = asyncio.create_task(VpnrsProtocol(numbered()).serve(self.server, self.gate))

    def stream_data(self, stream: int, data: bytes, end: bool) -> None:
        self.heard.extend(decode_message(kind, value) for kind, value in self._parser.feed(data))

    def stream_reset(self, stream: int, code: int) -> None: ...
    def datagrams(self, batch: Any) -> None: ...
    def writable(self) -> None: ...
    def path_changed(self, path: PathFacts) -> None: ...
    def closed(self, code: int, reason: str) -> None: ...

    def say(self, *messages: Control | bytes, stream: int = CONTROL_STREAM, end: bool = False) -> None:
        data = b"".join(m if isinstance(m, bytes) else encode_message(m) for m in messages)
        self.client.streams.write(stream, data, end=end)

    async def refused(self) -> tuple[str, str]:
        """The server ended it → code and text of its REJECT or CLOSE, which the close code repeats."""
        await self.serving
        await asyncio.sleep(0.1)
        assert all(len(link.closings) == 1 for link in self.gate.links)
        last = self.heard[-1]
        assert isinstance(last, RejectMessage | Close)
        assert last.code is not None
        assert self.client.closed_with is not None
        assert self.client.closed_with[0] == CLOSE_CODES[Code(last.code)]
        return last.code, last.text


HELLO = Hello(versions=[1], method="token", nonce=b"c" * 32, credential={"bearer": "token"})


# The course of a session


@on_clock
async def test_a_session_opens_carries_payloads_and_ends_with_a_goodbye() -> None:
    pair = await Pair(offer=Offer(("plain", "zip"), frozenset({"tcp4"})), wanted=(IPv4Network("0.0.0.0/0"),)).open()
    assert pair.link.grants == [GRANTED]
    [request] = pair.gate.requests
    assert request.credential == Bearer("token")
    assert request.offer == Offer(("plain", "zip"), frozenset({"tcp4"}))
    assert request.wanted == (IPv4Network("0.0.0.0/0"),)
    assert pair.server.was_authenticated
    assert pair.lane.send([b"\0one", b"\0two"]) == 2
    assert request.lane.send([b"\0back"]) == 1
    await asyncio.sleep(0.1)
    assert pair.gate.links[0].payloads == [b"\0one", b"\0two"]
    assert pair.link.payloads == [b"\0back"]
    await pair.stop()
    assert pair.closing == ("the client said goodbye", True)


@pytest.mark.parametrize("why", ["asked for", "no datagrams"])
def test_the_stream_lane_carries_whole_super_packets_both_ways(why: str) -> None:
    async def course() -> None:
        path = FakePath() if why == "asked for" else FakePath(datagram_size=0)
        pair = await Pair(path=path, lane="stream" if why == "asked for" else "datagram").open()
        assert pair.lane.NAME == pair.gate.requests[0].lane.NAME == "stream"
        big = b"\0" + bytes(65_000)
        assert pair.lane.send([big, b"\0small"]) == 2
        assert pair.gate.requests[0].lane.send([big]) == 1
        await asyncio.sleep(0.1)
        assert pair.gate.links[0].payloads == [big, b"\0small"]
        assert pair.link.payloads == [big]
        assert pair.gate.links[0].writables == 1, "the lane could send nothing before its stream was there"
        await pair.stop()

    run(course())


@on_clock
async def test_datagrams_that_overtake_welcome_are_nobodys() -> None:
    pair = Pair(FakeGate(delay=1.0)).start()
    await asyncio.sleep(0.1)
    pair.server.send([b"\0early"])
    pair.client.send([b"\0early"])
    await asyncio.sleep(2)
    assert pair.link.payloads == pair.gate.links[0].payloads == []
    await pair.stop()


@on_clock
async def test_changes_messages_and_paths_reach_the_other_side() -> None:
    pair = await Pair().open()
    notify = pair.gate.requests[0].notify
    assert notify is not None
    after = replace(GRANTED, mtu=1400, addresses=GRANTED.addresses[:1], routes=())
    notify.grant_changed(after)
    notify.message("zip", b"down")
    pair.control.message("zip", b"up")
    await asyncio.sleep(0.1)
    assert pair.link.changes == [after]
    assert (pair.link.messages, pair.gate.links[0].messages) == ([("zip", b"down")], [("zip", b"up")])
    assert notify.rtt == pair.control.rtt == pytest.approx(0.02)
    with pytest.raises(ValueError, match="are allowed"):
        pair.control.message("zip", bytes(16_000))
    await pair.stop()


@on_clock
async def test_challenges_bind_both_sides_to_the_same_channel() -> None:
    pair = await Pair(FakeGate(questions=[{"n": 1}, {"n": 2}])).open()
    assert pair.gate.answers == [{"to": {"n": 1}}, {"to": {"n": 2}}]
    [request] = pair.gate.requests
    assert set(pair.half.channels) == {request.channel}
    one, two = ((n).to_bytes(32, "big") for n in (1, 2))
    assert request.channel in (
        channel("vpnrs/1", one, two, SERVER_SPKI, "client"),
        channel("vpnrs/1", two, one, SERVER_SPKI, "client"),
    )
    await pair.stop()


@on_clock
async def test_a_fifth_challenge_is_refused_to_the_gate() -> None:
    pair = Pair(FakeGate(questions=[{}] * 5)).start()
    refuse = await pair.ended()
    assert refuse is not None
    assert refuse.code is Code.INTERNAL
    assert len(pair.gate.answers) == 4


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"bearer": "t"}, Bearer),
        ({}, PeerKey),
        ({"user": "a"}, Body),
        ({"bearer": "t", "more": 1}, Body),
        ({"bearer": 5}, Body),
    ],
)
def test_what_hello_carries_decides_the_credentials_kind(body: dict[str, Any], kind: type) -> None:
    async def course() -> None:
        pair = await Pair(half=Half(body)).open()
        credential = pair.gate.requests[0].credential
        assert type(credential) is kind
        if isinstance(credential, PeerKey):
            assert credential.identity == PeerIdentity(None)
        await pair.stop()

    run(course())


# Resume


@on_clock
async def test_resume_proves_the_ticket_and_gets_the_next_one() -> None:
    secrets = ResumeSecrets("s1", numbered())
    first = await Pair(FakeGate(secrets=secrets)).open()
    ticket = first.link.grants[0].resume
    assert ticket is not None
    first.path.cut = True
    first.server.close(0, "lost")
    first.client.close(0, "lost")
    assert await first.ended() is None
    assert first.closing == ("connection lost (lost)", False)
    second = await Pair(FakeGate(secrets=secrets), resume=ticket).open()
    assert second.link.grants[0].resumed
    assert second.link.grants[0].resume == secrets.ticket
    assert secrets.ticket.generation == 1
    await second.stop()


@on_clock
async def test_a_resume_that_is_refused_falls_back_to_the_credential_on_the_same_connection() -> None:
    gate = FakeGate(secrets=ResumeSecrets("s1", numbered()), questions=[{"n": 1}])
    pair = await Pair(gate, resume=ResumeTicket("s1", b"wrong" * 7, 0)).open()
    assert not pair.link.grants[0].resumed
    assert gate.answers == [{"to": {"n": 1}}]
    assert gate.requests[0].credential == Bearer("token")
    await pair.stop()


# Refusals and ends


@on_clock
async def test_a_refusal_is_answered_before_the_close() -> None:
    pair = Pair(FakeGate(Refuse(Code.BLOCKED, retry_after=30.0, detail="five failures"))).start()
    assert await pair.ended() == Refuse(Code.BLOCKED, 30.0, "too many attempts; try again later")
    assert not pair.server.was_authenticated
    assert pair.link.grants == []


@on_clock
async def test_a_refusal_waits_for_its_bytes_to_leave_but_not_for_ever() -> None:
    pair = Pair(FakeGate(NO))
    pair.server.fake_streams.held = True
    pair.start()
    await asyncio.sleep(0.5)
    assert pair.server.closed_with is None
    pair.server.fake_streams.flush()
    assert (await pair.ended()) == Refuse(Code.AUTH_FAILED, None, "the credential was not accepted")
    stuck = Pair(FakeGate(NO))
    stuck.server.fake_streams.held = True
    began = asyncio.get_running_loop().time()
    stuck.start()
    refuse = await stuck.ended()
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.0, abs=0.1)
    assert refuse == Refuse(Code.AUTH_FAILED, None, "the credential was not accepted"), "by the close code"


@on_clock
async def test_the_core_ends_a_session_with_its_reason() -> None:
    pair = await Pair().open()
    notify = pair.gate.requests[0].notify
    assert notify is not None
    notify.ended(Refuse(Code.SUPERSEDED, detail="resumed elsewhere"))
    refuse = await pair.ended()
    assert refuse is not None
    assert refuse.code is Code.SUPERSEDED
    assert pair.closing == ("resumed elsewhere", False)


@on_clock
async def test_an_end_while_the_gate_still_judges_is_a_refusal() -> None:
    pair = Pair(FakeGate(delay=5.0)).start()
    await asyncio.sleep(0.1)
    notify = pair.gate.requests[0].notify
    assert notify is not None
    notify.ended(Refuse(Code.SHUTTING_DOWN))
    refuse = await pair.ended()
    assert refuse is not None
    assert refuse.code is Code.SHUTTING_DOWN


@on_clock
async def test_a_server_that_stops_says_so() -> None:
    pair = await Pair().open()
    pair.serving.cancel()
    refuse = await pair.requesting
    with pytest.raises(asyncio.CancelledError):
        await pair.serving
    assert refuse is not None
    assert refuse.code is Code.SHUTTING_DOWN
    assert pair.closing == ("the server stops", False)


class LateGate(FakeGate):
    """Grants although it was cancelled, as a gate may that was past its last await."""

    async def open(self, *args: Any, **kwargs: Any) -> Any:
        opened = await super().open(*args, **kwargs)
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            pass
        return opened


@pytest.mark.parametrize("gate", [FakeGate, LateGate])
def test_a_connection_lost_while_the_gate_judges_leaves_no_link(gate: type[FakeGate]) -> None:
    async def course() -> None:
        pair = Pair(gate(delay=0.5)).start()
        await asyncio.sleep(1.0 if gate is LateGate else 0.1)
        pair.client.close(0, "gone")
        assert await pair.ended() is None
        assert len(pair.gate.links) == (1 if gate is LateGate else 0)

    run(course())


@on_clock
async def test_a_gate_that_raises_is_internal_and_serve_does_not_raise(caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair(FakeGate(RuntimeError("database password is hunter2"))).start()
    refuse = await pair.ended()
    assert refuse == Refuse(Code.INTERNAL, None, "the server could not complete the request")
    assert "the gate failed" in caplog.text


@on_clock
async def test_a_link_that_raises_ends_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    pair = await Pair().open()

    def broken(_: object) -> None:
        raise RuntimeError("broken")

    pair.gate.links[0].received = broken  # type: ignore[method-assign]
    pair.lane.send([b"\0x"])
    refuse = await pair.ended()
    assert refuse is not None
    assert refuse.code is Code.INTERNAL
    assert "datagrams failed" in caplog.text


# Time


@on_clock
async def test_an_idle_session_lives_on_pings_alone() -> None:
    pair = await Pair().open()
    await asyncio.sleep(3600)
    assert not pair.serving.done()
    await pair.stop()


@on_clock
async def test_both_sides_know_a_dead_peer_within_thirty_seconds() -> None:
    pair = await Pair().open()
    await asyncio.sleep(60)
    pair.path.cut = True
    began = asyncio.get_running_loop().time()
    assert await pair.ended() is None
    assert asyncio.get_running_loop().time() - began <= 30.0
    assert pair.closing == ("no sign of life", False)
    assert pair.server.closed_with == (CLOSE_DEAD, "")


@on_clock
async def test_liveness_survives_loss_and_reordering_of_datagrams() -> None:
    pair = await Pair(path=FakePath(loss=0.3, reorder=0.3)).open()
    for n in range(200):
        pair.lane.send([b"\0" + n.to_bytes(2, "big")])
        await asyncio.sleep(1)
    got = pair.gate.links[0].payloads
    assert 100 < len(got) < 180
    assert len(set(got)) == len(got)
    assert not pair.serving.done()
    await pair.stop()


@on_clock
async def test_a_client_that_says_nothing_or_too_slowly_is_refused_after_ten_seconds() -> None:
    for drip in (False, True):
        peer = RawPeer()
        began = asyncio.get_running_loop().time()
        capsule = iter(encode_message(HELLO))
        while drip and not peer.serving.done():
            peer.say(bytes([next(capsule)]))
            await asyncio.sleep(0.5)
        assert await peer.refused() == ("protocol", "nothing came in time in state waiting for HELLO")
        assert asyncio.get_running_loop().time() - began == pytest.approx(10.0, abs=0.7)


@on_clock
async def test_a_client_gives_up_on_a_server_that_never_answers() -> None:
    client, _ = connection_pair()
    with pytest.raises(PeerError, match="nothing came in time in state waiting for WELCOME"):
        await VpnrsProtocol().request(client, ClientRequest("token", Half()), FakeClientLink())


# Peers that break the protocol


@pytest.mark.parametrize(
    ("said", "code", "text"),
    [
        (encode_capsule(CapsuleType.HELLO, b'{"versions": [9]}'), "version", "this server speaks"),
        (encode_capsule(CapsuleType.HELLO, b"{}"), "protocol", "HELLO: versions: is missing"),
        (encode_capsule(CapsuleType.HELLO, b"\xff" * 100), "protocol", "HELLO: is not JSON"),
        (encode_varint(CapsuleType.HELLO) + encode_varint(1 << 30), "protocol", "16384 are allowed"),
        (encode_message(Ping(id=1)), "protocol", "Ping is not allowed in state waiting for HELLO"),
        (encode_capsule(CapsuleType.ADDRESS_ASSIGN, b"\1"), "protocol", "ADDRESS_ASSIGN"),
        (encode_message(HELLO) * 2, "protocol", "Hello is not allowed in state judging"),
    ],
)
def test_a_bad_beginning_is_rejected_with_a_reason(said: bytes, code: str, text: str) -> None:
    async def course() -> None:
        peer = RawPeer(FakeGate(delay=1.0))
        peer.say(said)
        told, why = await peer.refused()
        assert told == code
        assert text in why
        assert isinstance(peer.heard[-1], RejectMessage)

    run(course())


@pytest.mark.parametrize(
    ("breach", "text"),
    [
        (lambda p: p.say(HELLO), "Hello is not allowed in state open"),
        (lambda p: p.say(encode_capsule(CapsuleType.PING, b"{}")), "PING: id: is missing"),
        (lambda p: p.say(b"", end=True), "ended without CLOSE"),
        (lambda p: p.client.streams.reset(CONTROL_STREAM, 5), "stream 0 was reset"),
        (lambda p: p.say(b"x", stream=LANE_STREAM), "data on stream 4"),
        (lambda p: p.say(b"x", stream=2), "data on stream 2"),
    ],
)
def test_a_breach_in_the_open_session_closes_it_and_parks(breach: Callable[[RawPeer], None], text: str) -> None:
    async def course() -> None:
        peer = RawPeer()
        peer.say(HELLO)
        await asyncio.sleep(0.5)
        breach(peer)
        code, why = await peer.refused()
        assert code == "protocol"
        assert text in why
        [(_, graceful)] = peer.gate.links[0].closings
        assert not graceful

    run(course())


@on_clock
async def test_unknown_capsules_are_skipped() -> None:
    peer = RawPeer()
    peer.say(encode_capsule(0x7777, bytes(100_000)), HELLO, encode_capsule(0x17, b""))
    await asyncio.sleep(0.5)
    peer.say(encode_capsule(0x7777, bytes(100)), Ping(id=5))
    await asyncio.sleep(0.5)
    assert peer.heard[-1] == Pong(id=5)
    peer.say(Close())
    await peer.serving
    assert peer.gate.links[0].closings == [("the client said goodbye", True)]


@on_clock
async def test_a_peer_that_asks_and_never_reads_is_let_go() -> None:
    peer = RawPeer()
    peer.say(HELLO)
    await asyncio.sleep(0.5)
    peer.server.fake_streams.held = True
    question = AddressRequest(tuple(PrefixEntry(n, UNSPECIFIED[6]) for n in range(1, 20)))
    for _ in range(1000):
        peer.say(question)
    await peer.serving
    assert peer.server.closed_with == (CLOSE_CODES[Code.PROTOCOL], "answers are not read")


@on_clock
async def test_a_peer_that_has_datagrams_answered_and_never_reads_is_let_go() -> None:
    """Probes come as datagrams, their answers leave on the control stream."""
    peer = RawPeer()
    peer.say(HELLO)
    await asyncio.sleep(0.5)
    peer.server.fake_streams.held = True
    listener = peer.gate.requests[0].notify
    assert listener is not None
    for _ in range(1000):
        listener.message("probe", bytes(1000))
    await peer.serving
    assert peer.server.closed_with == (CLOSE_CODES[Code.PROTOCOL], "answers are not read")
    assert peer.server.fake_streams.unsent(0) < 300_000


@pytest.mark.parametrize("what", ["known", "unknown", "one without end"])
@on_clock
async def test_a_peer_that_floods_the_control_stream_is_let_go(what: str) -> None:
    flood = {
        "known": encode_message(Ping(id=1)) * 5000,
        "unknown": encode_capsule(0x7777, b"") * 5000,
        "one without end": encode_capsule(0x7777, b"")[:-1] + encode_varint(MAX_VARINT) + bytes(5 << 20),
    }
    peer = RawPeer()
    peer.say(HELLO)
    await asyncio.sleep(0.5)
    for at in range(0, len(flood[what]), 65_536):
        peer.say(flood[what][at : at + 65_536])
        await asyncio.sleep(0)
    await peer.serving
    code, why = peer.server.closed_with or (0, "")
    assert code == CLOSE_CODES[Code.PROTOCOL]
    assert "than anybody needs" in why


@on_clock
async def test_a_peer_that_says_what_a_busy_one_may_is_kept() -> None:
    peer = RawPeer()
    peer.say(HELLO)
    await asyncio.sleep(0.5)
    for n in range(8000):
        peer.say(Ping(id=n))
        if n % 9 == 0:
            await asyncio.sleep(0.01)
    assert peer.server.closed_with is None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 2, 4]), st.binary(max_size=60), st.booleans()), max_size=6), st.booleans()
)
def test_no_bytes_make_serve_raise_or_leak_a_link(chunks: list[tuple[int, bytes, bool]], hello: bool) -> None:
    async def course() -> None:
        logging.disable(logging.CRITICAL)
        try:
            peer = RawPeer()
            if hello:
                peer.say(HELLO)
            for stream, data, end in chunks:
                if peer.client.closed_with is not None:
                    break
                peer.say(data, stream=stream, end=end)
                await asyncio.sleep(0.1)
            if peer.client.closed_with is None:
                peer.client.close(0, "bye")
            await peer.serving
        finally:
            logging.disable(logging.NOTSET)
        assert peer.server.closed_with is not None
        assert all(len(link.closings) == 1 for link in peer.gate.links)

    run(course())


async def from_server(said: bytes) -> Awaitable[Refuse | None]:
    """A client, and a server that answers its HELLO with these bytes."""
    client, server = connection_pair()
    request = asyncio.create_task(VpnrsProtocol().request(client, ClientRequest("token", Half()), FakeClientLink()))
    await asyncio.sleep(0.1)
    server.streams.write(CONTROL_STREAM, said)
    return request


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (encode_capsule(CapsuleType.WELCOME, b"{}"), "WELCOME: version: is missing"),
        (encode_message(HELLO), "Hello is not allowed"),
        (encode_message(Ext(codec="zip", body=b"")), "Ext is not allowed"),
        (encode_varint(CapsuleType.WELCOME) + encode_varint(1 << 20), "16384 are allowed"),
    ],
)
def test_a_server_that_breaks_the_protocol_is_an_error_that_names_it(said: bytes, why: str) -> None:
    async def course() -> None:
        with pytest.raises(PeerError, match=r"server at 192\.0\.2\.2:4433: .*" + why):
            await (await from_server(said))

    run(course())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(
    [encode_capsule(kind, b"{}") for kind in CapsuleType]
    + [encode_message(Close(code="internal")), encode_message(Ping(id=1)), b"\x56", b"\xff" * 9]
), max_size=5))  # fmt: skip
def test_no_bytes_of_a_server_raise_anything_but_a_peer_error(said: list[bytes]) -> None:
    async def course() -> None:
        try:
            await (await from_server(b"".join(said)))
        except PeerError:
            pass

    run(course())


@on_clock
async def test_a_connection_that_takes_no_more_bytes_does_not_keep_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(FakeGate(NO, delay=1.0)).start()
    await asyncio.sleep(0.5)

    def broken(stream: int, data: bytes, *, end: bool = False) -> None:
        raise ConnectionError("closing")

    monkeypatch.setattr(pair.server.fake_streams, "write", broken)
    refuse = await pair.ended()
    assert refuse is not None
    assert refuse.code is Code.AUTH_FAILED


@on_clock
async def test_a_method_that_cannot_answer_is_named_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair(FakeGate(questions=[{}]), half=Half(answer=ValueError("hunter2"))).start()
    await asyncio.wait([pair.serving, pair.requesting])
    with pytest.raises(PluginError, match=r"method 'token': answer raised ValueError \(.+\.py:\d+\)$"):
        await pair.requesting
    assert pair.gate.links == []
    assert "hunter2" not in caplog.text


@on_clock
async def test_what_the_engine_raises_for_its_user_reaches_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair()

    def no_device(granted: Granted, lane: Lane, control: LinkControl) -> None:
        raise HostError("no /dev/net/tun")

    pair.link.granted = no_device  # type: ignore[method-assign]
    pair.start()
    await asyncio.wait([pair.serving, pair.requesting])
    with pytest.raises(HostError, match="no /dev/net/tun"):
        await pair.requesting
    assert len(pair.gate.links[0].closings) == 1


@on_clock
async def test_no_task_and_no_timer_is_left_behind() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ClockLoop)
    pair = await Pair().open()
    await pair.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(120)
    assert pair.client.closed_with == pair.server.closed_with
