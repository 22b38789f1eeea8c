"""The capsule parser: any cut of the bytes gives the same capsules, limits hold, unknown types cost nothing."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.errors import PeerError
from vpnrs_core.wire.capsule import CapsuleParser, encode_capsule
from vpnrs_core.wire.codepoints import CONTROL_LIMITS, LANE_LIMITS, MAX_CONTROL_VALUE, MAX_LANE_VALUE, CapsuleType
from vpnrs_core.wire.varint import MAX_VARINT, encode_varint

KNOWN = {1: 100, 2: 100, 0x5650: 100}
capsules = st.lists(st.tuples(st.sampled_from([1, 2, 0x5650, 7, 0x17, 1 << 40]), st.binary(max_size=100)), max_size=8)


@given(capsules, st.lists(st.integers(0, 900), max_size=20))
def test_any_cut_of_the_stream_gives_the_same_capsules(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(encode_capsule(kind, value) for kind, value in sent)
    edges = sorted({0, len(stream), *(c for c in cuts if c < len(stream))})
    parser = CapsuleParser(KNOWN)
    seen = [c for start, end in pairwise(edges) for c in parser.feed(stream[start:end])]
    assert seen == [(kind, value) for kind, value in sent if kind in KNOWN]
    assert parser.at_boundary()


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_raise_anything_but_a_peer_error(data: bytes, size: int) -> None:
    parser = CapsuleParser(KNOWN)
    try:
        for start in range(0, len(data), size):
            for kind, value in parser.feed(data[start : start + size]):
                assert len(value) <= KNOWN[kind]
    except PeerError:
        pass


def test_a_value_at_the_limit_passes_and_one_byte_more_is_refused() -> None:
    parser = CapsuleParser(CONTROL_LIMITS)
    value = bytes(MAX_CONTROL_VALUE)
    assert list(parser.feed(encode_capsule(CapsuleType.HELLO, value))) == [(CapsuleType.HELLO, value)]
    with pytest.raises(PeerError, match="16384 are allowed"):
        list(parser.feed(encode_varint(CapsuleType.HELLO) + encode_varint(MAX_CONTROL_VALUE + 1)))


def test_a_lane_capsule_may_hold_a_whole_super_packet() -> None:
    parser = CapsuleParser(LANE_LIMITS)
    value = bytes(MAX_LANE_VALUE)
    assert list(parser.feed(encode_capsule(CapsuleType.DATAGRAM, value))) == [(0, value)]
    with pytest.raises(PeerError):
        list(parser.feed(encode_capsule(CapsuleType.DATAGRAM, value + b"x")))


def test_an_endless_unknown_capsule_is_not_buffered() -> None:
    parser = CapsuleParser(CONTROL_LIMITS)
    assert list(parser.feed(encode_varint(0x7777) + encode_varint(MAX_VARINT))) == []
    for _ in range(100):
        assert list(parser.feed(bytes(65536))) == []
    assert len(parser._buffer) == 0
    assert not parser.at_boundary()


def test_what_stands_before_an_oversized_capsule_is_still_seen() -> None:
    parser = CapsuleParser(CONTROL_LIMITS)
    found = parser.feed(
        encode_capsule(CapsuleType.PING, b"{}") + encode_varint(CapsuleType.PONG) + encode_varint(1 << 20)
    )
    assert next(found) == (CapsuleType.PING, b"{}")
    with pytest.raises(PeerError):
        next(found)


def test_no_more_capsules_are_read_than_are_allowed_skipped_ones_included() -> None:
    parser = CapsuleParser(CONTROL_LIMITS, allowance=3.0)
    ping, unknown = encode_capsule(CapsuleType.PING, b"{}"), encode_capsule(0x7777, b"abc")
    found = parser.feed(ping + unknown + ping + ping)
    assert [next(found), next(found)] == [(CapsuleType.PING, b"{}")] * 2
    with pytest.raises(PeerError):
        next(found)
