"""The dict in parts next to a dict: the same answers, whatever is put in and taken out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpnrs_nat64.state.shards import Shards

KEYS = st.binary(max_size=3)


@given(st.lists(st.tuples(st.booleans(), KEYS, st.integers())))
def test_it_is_a_dict(steps):
    parts, whole = Shards(), {}
    for put, key, value in steps:
        if put:
            parts[key] = whole[key] = value
        elif key in whole:
            del parts[key], whole[key]
        else:
            with pytest.raises(KeyError):
                del parts[key]
        assert parts.get(key) == whole.get(key)
        assert (key in parts) == (key in whole)
        assert len(parts) == len(whole)
        assert sorted(parts.values()) == sorted(whole.values())
    assert all(parts[key] == value for key, value in whole.items())


def test_no_part_has_much_more_than_its_share():
    parts = Shards()
    for number in range(16_000):
        parts[number.to_bytes(18, "big")] = number
    assert max(map(len, parts._parts)) < 1500
