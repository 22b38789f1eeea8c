"""Control messages: there and back, strict bodies, and no way for a secret into an error or a repr."""

import json
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.errors import PeerError
from vpnrs_core.interfaces.common import Code
from vpnrs_core.wire.addresses import AddressAssign, PrefixEntry, RouteAdvertisement, to_ranges
from vpnrs_core.wire.capsule import CapsuleParser
from vpnrs_core.wire.codepoints import CLOSE_CODES, CONTROL_LIMITS, GENERIC_TEXT, CapsuleType
from vpnrs_core.wire.messages import (
    MODELS,
    Auth,
    ChallengeMessage,
    Close,
    Control,
    Ext,
    Hello,
    Ping,
    Pong,
    RateField,
    RejectMessage,
    ResumeWish,
    Terms,
    Ticket,
    Update,
    Welcome,
    decode_message,
    encode_message,
    offered_versions,
)

TERMS = Terms(mtu=1280, dns=[IPv4Address("10.77.0.1")], up=RateField(bits_per_second=1000, burst_bytes=3000))
HELLO = Hello(
    versions=[1],
    method="token",
    nonce=b"n" * 32,
    credential={"bearer": "hunter2"},
    wanted=[IPv4Network("0.0.0.0/0")],
    resume=ResumeWish(session="s1", generation=3),
)
WELCOME = Welcome(
    version=1,
    session="s1",
    principal="alice",
    lane="datagram",
    codecs={"plain": 0, "repair": 16},
    resume=Ticket(secret=b"hunter2!" * 4, generation=4),
    terms=TERMS,
)
ALL: list[Control] = [
    HELLO,
    ChallengeMessage(nonce=b"m" * 32, about="method", body={"question": [1, None]}),
    Auth(proof=b"p" * 32),
    Auth(body={"answer": "hunter2"}),
    WELCOME,
    RejectMessage(code="blocked", retry="retry", retry_after=900.0, text="later"),
    Ping(id=0),
    Pong(id=2**53 - 1),
    Update(terms=TERMS),
    Close(),
    Close(code="superseded", retry="final"),
    Ext(codec="repair", body=bytes(range(256))),
    AddressAssign((PrefixEntry(0, IPv4Network("10.77.0.2/32")),)),
    RouteAdvertisement(to_ranges([IPv4Network("10.0.0.0/8")])),
]


def decode(capsule: bytes) -> Control:
    [(kind, value)] = CapsuleParser(CONTROL_LIMITS).feed(capsule)
    return decode_message(kind, value)


@pytest.mark.parametrize("message", ALL, ids=lambda m: type(m).__name__)
def test_every_message_survives_the_wire(message: Control) -> None:
    assert decode(encode_message(message)) == message


def test_no_secret_is_in_any_repr() -> None:
    assert "hunter2" not in " ".join(map(repr, ALL))


def test_our_code_points_keep_clear_of_the_rfcs() -> None:
    for kind in MODELS:
        assert kind >= 0x4000
        assert (kind - 0x17) % 0x29 != 0


def test_every_refusal_has_a_text_and_a_close_code_of_its_own() -> None:
    assert set(GENERIC_TEXT) == set(CLOSE_CODES) == set(Code)
    assert len(set(CLOSE_CODES.values())) == len(Code)


def test_unknown_keys_are_ignored() -> None:
    assert decode_message(CapsuleType.PING, b'{"id": 7, "colour": "blue"}') == Ping(id=7)


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        (CapsuleType.PING, b"", "PING: is not JSON"),
        (CapsuleType.PING, b"\xff\xfe", "PING: is not JSON"),
        (CapsuleType.PING, b"[" * 10_000, "PING: is not JSON"),
        (CapsuleType.PING, b"[]", "PING: is not valid"),
        (CapsuleType.PING, b"{}", "PING: id: is missing"),
        (CapsuleType.PING, b'{"id": "1"}', "PING: id: is not valid"),
        (CapsuleType.PING, b'{"id": -1}', "PING: id: is not valid"),
        (CapsuleType.PING, b'{"id": 1e400}', "PING: id: is not valid"),
        (CapsuleType.UPDATE, b'{"terms": {"mtu": 100}}', "UPDATE: terms.mtu: is not valid"),
        (CapsuleType.UPDATE, b'{"terms": {"mtu": 1280, "dns": ["fe80::1%eth0"]}}', "terms.dns: is not valid"),
        (CapsuleType.REJECT, b'{"code": "x", "retry": "maybe"}', "REJECT: retry: is not valid"),
        (CapsuleType.REJECT, b'{"code": "x", "retry": "retry", "retry_after": NaN}', "REJECT: "),
        (CapsuleType.AUTH, b'{"proof": "c2hvcnQ="}', "AUTH: proof: is not valid"),
        (CapsuleType.AUTH, b'{"body": {"a": [1, NaN]}}', "AUTH: body: is not valid"),
        (CapsuleType.AUTH, b'{"body": {"a": {"b": 1e400}}}', "AUTH: body: is not valid"),
        (CapsuleType.AUTH, b'{"body": {"a": ' + b"9" * 5000 + b"}}", "AUTH: is not JSON"),
        (0x5999, b"{}", "no control message"),
    ],
)
def test_bodies_that_are_not_as_agreed_are_refused(kind: int, body: bytes, why: str) -> None:
    with pytest.raises(PeerError, match=why):
        decode_message(kind, body)


def test_an_error_never_repeats_what_the_peer_sent() -> None:
    body = json.dumps({"versions": [1], "method": "t", "nonce": "hunter2", "plugins": {"hunter2": 3}}).encode()
    with pytest.raises(PeerError) as caught:
        decode_message(CapsuleType.HELLO, body)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_versions_are_read_from_a_hello_that_is_otherwise_unknown() -> None:
    assert offered_versions(b'{"versions": [7, 8], "method": {"new": "shape"}}') == [7, 8]


def test_a_message_over_the_limit_is_refused_by_its_sender() -> None:
    with pytest.raises(ValueError, match="16384 are allowed"):
        encode_message(Ext(codec="repair", body=bytes(16_000)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
field_names = sorted({name for model in MODELS.values() for name in model.model_fields})


@given(
    st.sampled_from(sorted(MODELS)),
    st.one_of(
        st.binary(max_size=200),
        st.dictionaries(st.sampled_from(field_names), json_values, max_size=8).map(lambda d: json.dumps(d).encode()),
    ),
)
def test_no_body_raises_anything_but_a_peer_error(kind: int, body: bytes) -> None:
    try:
        message = decode_message(kind, body)
    except PeerError:
        return
    assert decode(encode_message(message)) == message
