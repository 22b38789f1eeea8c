"""Packet: its properties, slices that are super-packets of their own, headers replaced by a stage."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnrs_core.packet.header import VNET_LENGTH, BadPacket
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.packet.vnet import GSO_ECN, GSO_TCPV6, unpack
from vpnrs_core.testkit.packets import ACK, CWR, FIN, PSH, super_tcp, super_udp, tcp, udp

FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")


def test_properties_of_a_super_packet() -> None:
    packet = super_tcp(*SIX, bytes(2500), 1000, options=bytes(12))
    assert (packet.version, packet.protocol, packet.l4_offset, packet.header_length) == (6, 6, 40, 72)
    assert (packet.gso_type, packet.gso_size, packet.needs_csum, packet.segments) == (GSO_TCPV6, 1000, True, 3)
    assert packet.ip_bytes == 2500 + 3 * 72 == sum(map(len, segment(packet)))
    assert packet.largest_segment == 1072
    assert packet.vnet + packet.data == packet.frame


def test_properties_of_a_lone_packet() -> None:
    packet = Packet.of(udp(*FOUR, bytes(10)))
    assert (packet.segments, packet.ip_bytes, packet.largest_segment, packet.gso_size) == (1, 38, 38, 0)
    assert not packet.needs_csum
    assert (packet.src, packet.dst) == (b"\n\0\0\1", b"\n\0\0\2")


def test_malformed_raises_from_any_property() -> None:
    packet = Packet.of(b"\x45junk")
    for name in ("version", "src", "protocol", "header_length", "ip_bytes", "is_fragment"):
        with pytest.raises(BadPacket):
            getattr(packet, name)
    assert "truncated" in repr(packet)
    with pytest.raises(BadPacket):
        packet.examine()


FOUND = ("header", "gso_size", "segments", "ip_bytes", "largest_segment")


@pytest.mark.parametrize("name", FOUND)
def test_what_is_found_is_the_same_whichever_is_asked_first(name: str) -> None:
    for sample in (
        super_tcp(*SIX, bytes(2500), 1000),
        super_udp(*FOUR, bytes(2000), 1000),
        Packet.of(udp(*FOUR, b"x")),
    ):
        fresh, examined = Packet(sample.frame), Packet(sample.frame)
        getattr(fresh, name)
        assert examined.examine() == examined.header
        known = Packet.examined(sample.frame, examined.header)
        for each in FOUND:
            assert getattr(fresh, each) == getattr(examined, each) == getattr(known, each)


def test_a_packet_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError, match="colour"):
        getattr(Packet.of(udp(*FOUR, b"")), "colour")  # noqa: B009 - mypy knows that it has none


SUPER = st.builds(
    lambda make, addresses, size, mss, flags, seq, number: make(
        *addresses,
        bytes(range(256)) * (size // 256) + bytes(size % 256),
        mss,
        **({"flags": flags, "seq": seq} if make is super_tcp else {}),
        ip={"identification": number} if addresses is FOUR else {},
    ),
    st.sampled_from([super_tcp, super_udp]),
    st.sampled_from([FOUR, SIX]),
    st.integers(1, 6000),
    st.integers(60, 1400),
    st.sampled_from([ACK, ACK | PSH, ACK | FIN | PSH, ACK | CWR, ACK | CWR | PSH]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 0xFFFF),
)


@settings(max_examples=150, deadline=None)
@given(SUPER, st.data())
def test_slices_segment_as_the_whole_does(packet: Packet, data: st.DataObject) -> None:
    whole = segment(packet)
    assert len(whole) == packet.segments
    first = data.draw(st.integers(0, len(whole) - 1))
    count = data.draw(st.integers(1, len(whole) - first))
    part = packet.slice(first, count)
    assert part.segments == count
    assert segment(part) == whole[first : first + count]
    within = data.draw(st.integers(0, count - 1))
    assert segment(part.slice(within, 1)) == whole[first + within : first + within + 1]


@settings(max_examples=60, deadline=None)
@given(SUPER, st.integers(1, 9))
def test_split_loses_nothing(packet: Packet, limit: int) -> None:
    parts = packet.split(limit)
    assert all(part.segments <= limit for part in parts)
    assert [ip for part in parts for ip in segment(part)] == segment(packet)


def test_a_slice_of_one_keeps_its_partial_checksum() -> None:
    part = super_tcp(*FOUR, bytes(3000), 1000).slice(1, 1)
    assert (part.gso_type, part.gso_size, part.needs_csum, part.segments) == (0, 0, True, 1)


def test_the_ecn_bit_stays_with_the_first_segment() -> None:
    packet = super_tcp(*FOUR, bytes(5000), 1000, flags=ACK | CWR)
    packet = Packet(packet.frame[:1] + bytes((packet.frame[1] | GSO_ECN,)) + packet.frame[2:])
    assert packet.slice(0, 2).gso_type & GSO_ECN
    assert not packet.slice(1, 2).gso_type & GSO_ECN


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, 0), (0, 4), (3, 1), (2, 2)])
def test_slices_outside_are_refused(first: int, count: int) -> None:
    with pytest.raises(IndexError):
        super_tcp(*FOUR, bytes(3000), 1000).slice(first, count)


def test_replaced_headers_move_the_checksums_position() -> None:
    payload = bytes(3000)
    four, six = super_tcp(*FOUR, payload, 1000), super_tcp(*SIX, payload, 1000)
    translated = four.replace_headers(six.data[: six.header_length])
    assert translated.frame == six.frame
    assert segment(translated) == segment(six)
    assert four.replace_headers(six.data[: six.l4_offset], l4=False).gso_type == GSO_TCPV6
    assert unpack(translated.replace_headers(four.data[:40]).frame) == unpack(four.frame)


def test_replaced_headers_must_fit_the_payload() -> None:
    packet = Packet.of(tcp(*FOUR, b"payload"))
    with pytest.raises(BadPacket):
        packet.replace_headers(tcp(*FOUR, b"longer payload")[:40])
    new = tcp(*SIX, b"payload")
    assert packet.replace_headers(new[:60]).data == new


def test_with_session_shares_the_bytes() -> None:
    packet = super_tcp(*FOUR, bytes(3000), 1000)
    session: object = object()
    other = packet.with_session(session)  # type: ignore[arg-type]
    assert other.frame is packet.frame
    assert other.session is session
    assert packet.session is None
    assert len(packet.frame) == VNET_LENGTH + 3040
