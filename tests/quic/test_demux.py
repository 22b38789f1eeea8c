"""Whose packets a joined buffer holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.quic.demux import one_connection


@given(st.lists(st.sampled_from([b"12345678", b"abcdefgh"]), min_size=1, max_size=60), st.integers(1, 1400), st.data())
def test_a_buffer_is_one_connections_when_every_packet_names_it(ids, rest, data):
    packets = [b"\x40" + name + bytes(rest) for name in ids]
    last = packets[-1][: data.draw(st.integers(9, len(packets[-1])))]
    joined = b"".join([*packets[:-1], last])
    assert one_connection(joined, len(packets[0])) == (len(set(ids)) == 1)


@pytest.mark.parametrize("size", [1, 8])
def test_packets_too_short_for_an_id_are_nobodys(size):
    assert not one_connection(bytes(32), size)
