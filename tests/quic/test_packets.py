"""Packets that need no connection, checked against aioquic's own parser."""

import os

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicPacketType, encode_quic_retry, pull_quic_header
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.quic.packets import TOKEN_LIFETIME, LongHeader, RetryTokens, parse_long, version_negotiation

CLIENT = ("192.0.2.7", 4433)


def header(destination=b"D" * 8, source=b"S" * 8, token=b"", version=1):
    return LongHeader(version, destination, source, True, token)


@given(st.binary(max_size=80))
def test_no_bytes_break_the_parser(data):
    parse_long(data)


@given(st.binary(min_size=8, max_size=20), st.binary(max_size=20), st.binary(max_size=200))
def test_initials_are_read_as_they_were_written(destination, source, token):
    length = len(token).to_bytes(1, "big") if len(token) < 64 else (0x4000 | len(token)).to_bytes(2, "big")
    data = b"\xc3" + bytes(3) + b"\x01" + bytes([len(destination)]) + destination + bytes([len(source)]) + source
    parsed = parse_long(data + length + token + b"\x40\x20")
    assert parsed == LongHeader(1, destination, source, True, token)


def test_a_token_that_is_longer_than_the_packet_is_malformed():
    assert parse_long(b"\xc3\x00\x00\x00\x01\x08" + bytes(8) + b"\x00" + b"\x44\x00abc") is None


def test_version_negotiation_is_what_a_client_expects():
    packet = version_negotiation(header(version=0x1A2A3A4A), os.urandom)
    parsed = pull_quic_header(Buffer(data=packet), host_cid_length=8)
    assert parsed.packet_type is QuicPacketType.VERSION_NEGOTIATION
    assert (parsed.destination_cid, parsed.source_cid) == (b"S" * 8, b"D" * 8)
    assert parsed.supported_versions[0] == 1
    assert all(version & 0x0F0F0F0F == 0x0A0A0A0A for version in parsed.supported_versions[1:])


def test_the_retry_packet_equals_aioquics():
    packet = RetryTokens(os.urandom).packet(header(), CLIENT, now=5.0)
    parsed = pull_quic_header(Buffer(data=packet), host_cid_length=8)
    assert parsed.packet_type is QuicPacketType.RETRY
    again = encode_quic_retry(
        version=1,
        source_cid=parsed.source_cid,
        destination_cid=b"S" * 8,
        original_destination_cid=b"D" * 8,
        retry_token=parsed.token,
    )
    assert packet[1:] == again[1:-16] + packet[-16:]
    assert parsed.integrity_tag == packet[-16:]
    if packet[0] == again[0]:
        assert packet == again


@pytest.mark.parametrize(
    ("address", "later", "good"),
    [
        (CLIENT, 1.0, True),
        (("192.0.2.8", 4433), 1.0, False),
        (("192.0.2.7", 4434), 1.0, False),
        (CLIENT, TOKEN_LIFETIME + 1, False),
    ],
)
def test_a_token_holds_for_its_address_and_time(address, later, good):
    tokens = RetryTokens(os.urandom)
    parsed = pull_quic_header(Buffer(data=tokens.packet(header(), CLIENT, now=100.0)), host_cid_length=8)
    second = header(destination=parsed.source_cid, token=parsed.token)
    assert tokens.open(second, address, 100.0 + later) == (b"D" * 8 if good else None)


@given(st.binary(max_size=100))
def test_made_up_tokens_are_refused(token):
    assert RetryTokens(os.urandom).open(header(token=token), CLIENT, 0.0) is None
