"""Refitted packets say the same to a TCP receiver, in segments that fit."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnrs_core.packet.header import examine
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.refit import refit
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit.packets import ACK, CWR, ECE, FIN, PSH, SYN, URG, super_tcp, super_udp, tcp

FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([FOUR, SIX]), st.integers(1, 9000), st.integers(500, 1400), st.integers(100, 1300),
    st.sampled_from([ACK, ACK | PSH, ACK | PSH | FIN, ACK | CWR | ECE]), st.integers(2**32 - 9000, 2**32 - 1),
)  # fmt: skip
def test_the_stream_stays_the_same(
    addresses: tuple[str, str], size: int, mss: int, mtu: int, flags: int, seq: int
) -> None:
    data = random.Random(size).randbytes(size)
    packet = super_tcp(*addresses, data, mss, flags=flags, seq=seq)
    smaller = refit(packet, mtu)
    assert smaller is not None
    at, header_length = 0, packet.header_length
    parts = segment(smaller)
    for index, ip in enumerate(parts):
        header = examine(ip, 0)
        assert header.length <= mtu
        number = int.from_bytes(ip[header.l4_offset + 4 : header.l4_offset + 8], "big")
        assert number == (seq + at) % 2**32
        payload = ip[header_length:]
        seen = ip[header.l4_offset + 13]
        expected = flags & ~(CWR if index else 0) & ~(0 if index == len(parts) - 1 else FIN | PSH)
        assert (payload, seen) == (data[at : at + len(payload)], expected)
        # Its checksum is that of a packet made for itself.
        fields = {"flags": seen, "seq": number}
        ids = {"identification": int.from_bytes(ip[4:6], "big")} if addresses is FOUR else {}
        assert ip[header.l4_offset :] == tcp(*addresses, payload, ip=ids, **fields)[header.l4_offset :]
        at += len(payload)
    assert at == size


@pytest.mark.parametrize(
    "packet",
    [
        super_udp(*FOUR, bytes(3000), 1200),
        Packet.of(tcp(*FOUR, bytes(1200))),
        super_tcp(*FOUR, bytes(3000), 1200, flags=ACK | SYN),
        super_tcp(*SIX, bytes(3000), 1200, flags=ACK | URG),
    ],
    ids=["udp", "finished", "syn", "urgent"],
)
def test_what_cannot_be_divided_is_not(packet: Packet) -> None:
    assert refit(packet, 1000) is None


def test_headers_need_room_and_what_fits_stays() -> None:
    packet = super_tcp(*SIX, bytes(3000), 1200)
    assert refit(packet, 60) is None
    assert refit(packet, 61) is not None
    assert refit(packet, 1260) is packet
