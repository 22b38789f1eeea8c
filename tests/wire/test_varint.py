"""Varints against the examples of RFC 9000 §A.1 and against themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.wire.varint import MAX_VARINT, decode_varint, encode_varint


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ("c2197c5eff14e88c", 151288809941952652),
        ("9d7f3e7d", 494878333),
        ("7bbd", 15293),
        ("25", 37),
        ("4025", 37),
    ],
)
def test_the_rfc_examples_decode(encoded: str, value: int) -> None:
    data = bytes.fromhex(encoded)
    assert decode_varint(data) == (value, len(data))


@given(st.integers(0, MAX_VARINT), st.binary(max_size=4))
def test_encoding_is_shortest_and_reversible(value: int, behind: bytes) -> None:
    encoded = encode_varint(value)
    assert decode_varint(b"x" + encoded + behind, 1) == (value, 1 + len(encoded))
    assert len(encoded) == next(n for n in (1, 2, 4, 8) if value < 1 << (8 * n - 2))


@given(st.integers(0, MAX_VARINT))
def test_every_truncation_is_refused(value: int) -> None:
    encoded = encode_varint(value)
    for length in range(len(encoded)):
        with pytest.raises(ValueError, match="truncated"):
            decode_varint(encoded[:length])


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_what_no_varint_holds_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="varint"):
        encode_varint(value)
