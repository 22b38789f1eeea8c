"""The handshake tables read as dialogues: the client's machine against the server's, message by message."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.errors import PeerError
from vpnrs_core.interfaces.common import Code, Refuse
from vpnrs_core.interfaces.grant import Rate
from vpnrs_core.interfaces.protocol import ClientRequest, Granted, Offer, ResumeTicket
from vpnrs_core.session.client_handshake import Answered, ClientHandshake, ClientState, Start, Stop
from vpnrs_core.session.handshake import (
    Action,
    Answer,
    Challenged,
    Configure,
    Dead,
    Deliver,
    Failed,
    Finish,
    Judge,
    Lost,
    PongSeen,
    Reconfigure,
    Send,
    Tell,
    Violation,
)
from vpnrs_core.session.resume import channel, make_proof
from vpnrs_core.session.server_handshake import (
    Ask,
    Changed,
    End,
    Opened,
    Refused,
    ServerHandshake,
    ServerState,
    WrongVersion,
)
from vpnrs_core.testkit.gate import GRANTED
from vpnrs_core.wire.addresses import AddressAssign, AddressRequest, PrefixEntry, RouteAdvertisement
from vpnrs_core.wire.capsule import CapsuleParser
from vpnrs_core.wire.codepoints import CLOSE_CODES, CONTROL_LIMITS
from vpnrs_core.wire.messages import Auth, ChallengeMessage, Close, Hello, Ping, Pong, RejectMessage, encode_message

TICKET = ResumeTicket("s1", b"k" * 32, 7)
CHANNEL = channel("vpnrs/1", b"c" * 32, b"s" * 32, b"spki", "client")


class Half:
    async def prepare(self) -> None: ...
    def start(self) -> Mapping[str, Any]:
        return {"bearer": "token"}

    def answer(self, challenge: Mapping[str, Any], channel: bytes) -> Mapping[str, Any]:
        return {"to": challenge}

    def refused(self, code: Code) -> bool:
        return False


class Dialogue:
    """Both machines; what one sends the other reads from the wire's bytes. `trace` is who said what."""

    def __init__(
        self, *, resume: ResumeTicket | None = None, lane: str = "datagram", granted: Granted = GRANTED
    ) -> None:
        wish = ClientRequest("token", Half(), offer=Offer(("plain", "zip")), resume=resume)
        self.client = ClientHandshake(wish, b"c" * 32, "vpnrs/1", b"spki", lane=lane)
        self.server = ServerHandshake(b"s" * 32, "vpnrs/1", b"spki", 0.0)
        self.granted = granted
        self.trace: list[str] = []
        self.seen: list[Action] = []

    def to_client(self, given: object) -> None:
        self._run("client", self.client, self.server, given)

    def to_server(self, given: object) -> None:
        self._run("server", self.server, self.client, given)

    def _run(self, name: str, machine: Any, other: Any, given: object) -> None:
        for action in machine.step(given, 0.0):
            if not isinstance(action, Send):
                self.trace.append(f"{name}: [{type(action).__name__}]")
                self.seen.append(action)
                continue
            self.trace.append(f"{name}: {type(action.message).__name__}")
            for kind, value in CapsuleParser(CONTROL_LIMITS).feed(encode_message(action.message)):
                (self.to_server if name == "client" else self.to_client)(other.read(kind, value))

    def last(self, kind: type) -> Any:
        return next(action for action in reversed(self.seen) if type(action) is kind)

    def open(self) -> "Dialogue":
        self.to_client(Start({"bearer": "token"}))
        self.to_server(Opened(self.granted, "datagram"))
        assert self.server.state is ServerState.OPEN
        assert self.client.state is ClientState.OPEN
        self.trace.clear()
        return self


def test_the_shortest_handshake() -> None:
    talk = Dialogue()
    talk.to_client(Start({"bearer": "token"}))
    talk.to_server(Opened(GRANTED, "datagram"))
    assert talk.trace == [
        "client: Hello",
        "server: [Judge]",
        "server: Welcome",
        "server: AddressAssign",
        "server: RouteAdvertisement",
        "client: [Configure]",
        "server: [Configure]",
    ]
    assert talk.last(Configure).granted == GRANTED


def test_the_client_configures_exactly_what_the_gate_granted() -> None:
    rich = replace(
        GRANTED,
        mtu=1400,
        up=Rate(10**6, 10**5),
        down=Rate(10**7, 10**6),
        expires=2e9,
        contexts={"plain": 0, "zip": 16},
        peer_offloads=frozenset({"tcp4", "udp6"}),
        underlay=("192.0.2.2",),
        resume=TICKET,
        resumed=True,
        facts={"quota": {"left": 5}},
    )
    talk = Dialogue(granted=rich).open()
    client_configure, _ = (a for a in talk.seen if isinstance(a, Configure))
    assert client_configure.granted == rich


def test_challenges_are_answered_up_to_four_times() -> None:
    talk = Dialogue()
    talk.to_client(Start({"user": "alice"}))
    for n in range(4):
        assert talk.server.more_rounds()
        talk.to_server(Ask({"question": n}))
        assert talk.last(Challenged) == Challenged({"question": n}, CHANNEL)
        assert talk.server.channel() == CHANNEL
        talk.to_client(Answered({"answer": n}))
        assert talk.last(Answer) == Answer({"answer": n})
    assert not talk.server.more_rounds()
    talk.to_server(Opened(GRANTED, "datagram"))
    assert talk.client.state is ClientState.OPEN
    assert talk.trace[2:6] == ["server: ChallengeMessage", "client: [Challenged]", "client: Auth", "server: [Answer]"]


def test_a_resume_is_proven_before_the_gate_is_asked() -> None:
    talk = Dialogue(resume=TICKET)
    talk.to_client(Start({"bearer": "token"}))
    assert talk.trace == ["client: Hello", "server: ChallengeMessage", "client: Auth", "server: [Judge]"]
    claim = talk.last(Judge).claim
    assert (claim.session, claim.generation, claim.mode) == ("s1", 7, "replace")
    assert claim.proof == make_proof(TICKET.secret, claim.binding)
    assert talk.last(Judge).hello.credential == {"bearer": "token"}, "the fallback needs no second connection"


def test_a_refusal_tells_the_code_and_the_retry_class_but_not_the_detail() -> None:
    talk = Dialogue()
    talk.to_client(Start({"bearer": "token"}))
    talk.to_server(Refused(Refuse(Code.BLOCKED, retry_after=900.0, detail="alice failed 5 times")))
    client, server = (a for a in talk.seen if isinstance(a, Finish))
    assert client.refuse == Refuse(Code.BLOCKED, 900.0, "too many attempts; try again later")
    assert server.refuse.detail == "alice failed 5 times"
    assert server.close_code == CLOSE_CODES[Code.BLOCKED]
    assert "alice" not in server.parting()


def test_the_version_gate_comes_before_everything_else() -> None:
    server = ServerHandshake(b"s" * 32, "vpnrs/1", b"spki", 0.0)
    given = server.read(0x5650, b'{"versions": [2], "method": 17}')
    [sent, finish] = server.step(given, 0.0)
    assert given == WrongVersion()
    assert isinstance(sent, Send)
    assert isinstance(sent.message, RejectMessage)
    assert (sent.message.code, sent.message.retry) == ("version", "final")
    assert isinstance(finish, Finish)


def test_a_change_reaches_the_client_as_one() -> None:
    talk = Dialogue().open()
    after = replace(
        GRANTED,
        mtu=1300,
        dns=(),
        addresses=((IPv4Address("10.99.0.9"), 16),),
        routes=(IPv6Network("fd00::/16"), IPv4Network("192.168.0.0/16"))[::-1],
    )
    talk.to_server(Changed(after))
    assert talk.trace == [
        "server: AddressAssign",
        "server: RouteAdvertisement",
        "server: Update",
        "client: [Reconfigure]",
    ]
    assert talk.last(Reconfigure).granted == after
    talk.trace.clear()
    talk.to_server(Changed(after))
    assert talk.trace == []


def test_ping_pong_and_codec_messages() -> None:
    talk = Dialogue().open()
    talk.to_client(Ping(id=3))
    talk.to_client(Tell("zip", b"\0x"))
    talk.to_server(Tell("zip", b"y"))
    assert talk.trace == ["client: Pong", "server: [PongSeen]", "client: Ext", "server: [Deliver]",
                          "server: Ext", "client: [Deliver]"]  # fmt: skip
    assert talk.seen[-3:] == [PongSeen(3), Deliver("zip", b"\0x"), Deliver("zip", b"y")]


def test_requests_for_more_addresses_are_declined_and_change_nothing() -> None:
    talk = Dialogue().open()
    actions = talk.server.step(AddressRequest((PrefixEntry(5, IPv4Network("10.0.0.0/32")),)), 0.0)
    [sent] = actions
    assert isinstance(sent, Send)
    assert isinstance(sent.message, AddressAssign)
    assert sent.message.addresses == tuple(address for address, _ in GRANTED.addresses)
    assert sent.message.entries[-1] == PrefixEntry(5, IPv4Network("0.0.0.0/32"))
    assert talk.client.step(sent.message, 0.0) == []


def test_goodbye_is_graceful_and_only_the_clients() -> None:
    talk = Dialogue().open()
    talk.to_client(Stop())
    assert talk.trace == ["client: Close", "server: [Finish]", "client: [Finish]"]
    assert talk.seen[-2].graceful  # type: ignore[union-attr]
    other = Dialogue().open()
    other.to_server(End(Refuse(Code.SHUTTING_DOWN)))
    assert other.trace == ["server: Close", "client: [Finish]", "server: [Finish]"]
    assert not other.seen[-1].graceful  # type: ignore[union-attr]
    assert other.seen[-2].refuse.code is Code.SHUTTING_DOWN  # type: ignore[union-attr]


def test_a_second_hello_closes_the_open_session() -> None:
    talk = Dialogue().open()
    talk.to_server(Hello(versions=[1], method="token", nonce=b"x" * 32))
    assert talk.trace[0] == "server: Close"
    assert talk.last(Finish).blame == "Hello is not allowed in state open"


def test_deadlines() -> None:
    server = ServerHandshake(b"s" * 32, "vpnrs/1", b"spki", 100.0)
    assert server.deadline == 110.0
    assert server.tick(109.9) == []
    sent, finish = server.tick(110.0)
    assert isinstance(sent, Send)
    assert isinstance(sent.message, RejectMessage)
    assert sent.message.code == "protocol"
    assert isinstance(finish, Finish)
    talk = Dialogue(resume=TICKET)
    talk.client.step(Start({}), 100.0)
    assert talk.client.deadline == 130.0


def test_an_answer_that_does_not_come_is_a_refusal() -> None:
    server = ServerHandshake(b"s" * 32, "vpnrs/1", b"spki", 0.0)
    server.step(Hello(versions=[1], method="token", nonce=b"c" * 32), 1.0)
    assert server.deadline is None, "the gate keeps its own time"
    server.step(Ask({}), 2.0)
    assert server.deadline == 12.0
    assert isinstance(server.tick(12.0)[-1], Finish)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"contexts": {"plain": 0, "repair": 16}}, "was not offered"),
        ({"contexts": {"plain": 4}}, "context id 0"),
    ],
)
def test_a_welcome_that_was_not_asked_for_ends_it(change: dict[str, Any], why: str) -> None:
    talk = Dialogue()
    talk.to_client(Start({"bearer": "token"}))
    talk.to_server(Opened(replace(GRANTED, **change), "datagram"))
    blame = next(a for a in talk.seen if isinstance(a, Finish) and a.blame is not None).blame
    assert blame is not None
    assert why in blame


def test_the_client_takes_the_stream_lane_when_the_server_has_no_datagrams_but_not_the_reverse() -> None:
    talk = Dialogue()
    talk.to_client(Start({"bearer": "token"}))
    talk.to_server(Opened(GRANTED, "stream"))
    assert talk.last(Configure).lane == "stream"
    refused = Dialogue(lane="stream")
    refused.to_client(Start({"bearer": "token"}))
    refused.to_server(Opened(GRANTED, "datagram"))
    assert refused.client.closed


def test_a_server_that_changes_its_nonce_or_asks_for_a_second_proof_is_left() -> None:
    for second in (
        ChallengeMessage(nonce=b"x" * 32, about="method"),
        ChallengeMessage(nonce=b"s" * 32, about="resume"),
    ):
        client = Dialogue(resume=TICKET).client
        client.step(Start({}), 0.0)
        client.step(ChallengeMessage(nonce=b"s" * 32, about="resume"), 0.0)
        assert isinstance(client.step(second, 0.0)[-1], Finish)


def test_the_close_code_says_why_when_no_message_did() -> None:
    client = Dialogue().client
    client.step(Start({}), 0.0)
    [finish] = client.step(Lost(CLOSE_CODES[Code.SERVER_FULL], "full"), 0.0)
    assert isinstance(finish, Finish)
    assert finish.refuse == Refuse(Code.SERVER_FULL, None, "full")
    other = Dialogue().open()
    other.to_client(Lost(0, "idle timeout"))
    assert other.last(Finish).refuse is None


def test_codes_that_we_do_not_know_keep_their_retry_class() -> None:
    for retry, code in (("final", Code.POLICY), ("retry", Code.INTERNAL)):
        client = Dialogue().client
        client.step(Start({}), 0.0)
        [finish] = client.step(RejectMessage(code="too_purple", retry=retry, text="no\x1b[31m"), 0.0)  # type: ignore[arg-type]
        assert isinstance(finish, Finish)
        assert finish.refuse == Refuse(code, None, "no?[31m")


def test_a_grant_that_the_wire_cannot_carry_is_refused_not_sent() -> None:
    talk = Dialogue()
    talk.to_client(Start({"bearer": "token"}))
    talk.to_server(Opened(replace(GRANTED, facts={"big": "x" * 20_000}), "datagram"))
    assert "server: RejectMessage" in talk.trace
    assert "server: Welcome" not in talk.trace
    assert "does not fit the wire" in talk.last(Finish).reason


from_peer = st.sampled_from([
    Hello(versions=[1], method="token", nonce=b"c" * 32), Auth(), Auth(proof=b"p" * 32), Ping(id=1), Pong(id=1),
    ChallengeMessage(nonce=b"s" * 32, about="method"), ChallengeMessage(nonce=b"s" * 32, about="resume"),
    Close(), Close(code="internal"), RejectMessage(code="internal", retry="retry"), AddressAssign(),
    RouteAdvertisement(), AddressRequest((PrefixEntry(1, IPv4Network("0.0.0.0/32")),)),
])  # fmt: skip
local = st.sampled_from([
    Ask({}), Opened(GRANTED, "datagram"), Refused(Refuse(Code.INTERNAL)), Changed(GRANTED), WrongVersion(),
    End(Refuse(Code.POLICY)), Start({}), Answered({}), Stop(), Violation("x"), Failed("x"), Lost(0, ""), Dead(),
    Tell("zip", b"x"),
])  # fmt: skip


@given(st.lists(from_peer | local, max_size=12))
def test_any_sequence_of_inputs_finishes_at_most_once_and_raises_nothing(inputs: list[object]) -> None:
    for machine in (Dialogue(resume=TICKET).client, Dialogue().server):
        finishes = configures = 0
        for given_input in inputs:
            try:
                actions = machine.step(given_input, 0.0)
            except PeerError:
                pytest.fail("a machine blames by actions, not by exceptions")
            finishes += sum(isinstance(a, Finish) for a in actions)
            configures += sum(isinstance(a, Configure) for a in actions)
            assert machine.closed == bool(finishes)
        assert finishes <= 1
        assert configures <= 1
