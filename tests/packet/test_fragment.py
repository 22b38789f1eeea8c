"""Fragments put together again by scapy are the packet."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.all import IP, defragment, raw  # type: ignore[attr-defined]

from vpnrs_core.packet.fragment import fragment, may_fragment
from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit.packets import udp

FOUR = ("10.0.0.1", "10.0.0.2")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6000), st.integers(68, 1500), st.integers(68, 1500))
def test_fragments_of_fragments_reassemble(size: int, mtu: int, second_mtu: int) -> None:
    data = udp(*FOUR, random.Random(size).randbytes(size), ip={"dont_fragment": False, "identification": 77})
    parts = [piece for part in fragment(data, mtu) for piece in fragment(part, second_mtu)]
    assert all(len(part) <= min(mtu, second_mtu) for part in parts)
    for part in parts:
        assert Packet.of(part).header.length == len(part)
    (whole,) = defragment([IP(part) for part in parts])
    del whole[IP].chksum
    assert raw(whole) == data


def test_what_fits_is_untouched() -> None:
    data = udp(*FOUR, bytes(100))
    assert fragment(data, 128) == [data]


def test_what_must_not_be_fragmented_is_refused() -> None:
    with pytest.raises(ValueError, match="may not be fragmented"):
        fragment(udp(*FOUR, bytes(2000)), 1280)
    with pytest.raises(ValueError, match="may not be fragmented"):
        fragment(udp("fd00::1", "fd00::2", bytes(2000)), 1280)
    data = udp(*FOUR, bytes(200), ip={"dont_fragment": False})
    assert may_fragment(data)
    with pytest.raises(ValueError, match="no room"):
        fragment(data, 27)


def test_options_that_cannot_be_parsed_are_padding_later() -> None:
    data = udp(*FOUR, bytes(200), ip={"dont_fragment": False, "options": b"\x01\x07\xff\x00"})
    parts = fragment(data, 100)
    assert parts[0][20:24] == b"\x01\x07\xff\x00"
    assert parts[1][20:24] == b"\x01\0\0\0"
