"""Gathered datagrams are the datagrams: whoever segments gets byte for byte what the TUN gave."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.packet.checksum import ones_sum
from vpnrs_core.packet.coalesce import coalesce
from vpnrs_core.packet.gather import FEW, LEAST, gather
from vpnrs_core.packet.header import BadPacket
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit.packets import echo, super_tcp, super_udp, tcp

FOUR, SIX = ("10.1.0.1", "10.2.0.1"), ("fd01::1", "fd02::1")


def datagrams(addresses: tuple[str, str], count: int, size: int = 700, first: int = 9, **ports: int) -> list[bytes]:
    """What a local sender's kernel gives: partial checksums, IPv4 identifications that count."""
    rng = random.Random(count)
    made = []
    for number in range(count):
        ip = {"identification": (first + number) & 0xFFFF} if addresses is FOUR else {}
        made.append(super_udp(*addresses, rng.randbytes(size), size, ip=ip, **ports).frame)
    return made


def segments(frames: list[bytes]) -> list[bytes]:
    """On a wire, identifications of unfragmentable packets left out; of a malformed frame, itself."""
    found: list[bytes] = []
    for frame in frames:
        try:
            found += map(anonymous, segment(Packet(frame)))
        except BadPacket:
            found.append(frame)
    return found


def anonymous(ip: bytes) -> bytes:
    """Without identification and what the header checksum says of it."""
    if ip[0] >> 4 == 4 and ip[6] & 0x40:
        rest = (int.from_bytes(ip[4:6], "big") + int.from_bytes(ip[10:12], "big")) % 65535
        return ip[:4] + bytes(2) + ip[6:10] + rest.to_bytes(2, "big") + ip[12:]
    return ip


both = pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])


@both
def test_a_run_becomes_what_coalesce_makes_of_it(addresses: tuple[str, str]) -> None:
    frames = datagrams(addresses, 40)
    (one,) = gather(frames)
    (expected,) = coalesce(list(map(Packet, frames)))
    assert one == expected.frame
    assert segment(Packet(one)) == [ip for frame in frames for ip in segment(Packet(frame))]


@both
def test_runs_stay_within_64_segments_and_64_kib(addresses: tuple[str, str]) -> None:
    assert [Packet(frame).segments for frame in gather(datagrams(addresses, 130, 64))] == [64, 64, 1, 1]
    large = [Packet(frame) for frame in gather(datagrams(addresses, 60, 1200))]
    assert large[0].segments >= 52
    assert all(packet.header.length <= 65535 for packet in large)
    huge = datagrams(addresses, FEW, 40_000)
    assert gather(huge) == huge


@both
def test_order_stays_and_others_pass_as_they_are(addresses: tuple[str, str]) -> None:
    other = [super_tcp(*addresses, bytes(4000), 1000).frame, Packet.of(echo(*addresses)).frame]
    ack = super_tcp(*addresses, b"", 1000).frame
    few = datagrams(addresses, LEAST - 1)
    batch = [*datagrams(addresses, 5), other[0], *few, other[1], ack, ack, ack, *datagrams(addresses, 6, dport=7)]
    found = gather(batch)
    assert segments(list(found)) == segments(batch)
    assert [Packet(frame).segments for frame in found] == [5, 4, 1, 1, 1, 1, 1, 1, 6]


def test_two_flows_do_not_mix() -> None:
    one, two = datagrams(SIX, 8, sport=1), datagrams(SIX, 8, sport=2)
    mixed = [frame for pair in zip(one, two, strict=True) for frame in pair]
    assert gather(mixed) == mixed
    assert [Packet(frame).segments for frame in gather([*one, *two])] == [8, 8]


@pytest.mark.parametrize(
    "ip", [{"ttl": 3}, {"tos": 1}, {"dont_fragment": False}, {"identification": 77}, {"options": bytes(4)}]
)
def test_a_datagram_that_differs_is_not_made_like_the_others(ip: dict[str, object]) -> None:
    frames = datagrams(FOUR, 9)
    frames[3] = super_udp(*FOUR, bytes(700), 700, ip={"identification": 12, **ip}).frame
    assert segments(list(gather(frames))) == segments(frames)


@pytest.mark.parametrize(
    "numbers", [[9, 10, 11, 12, 14, 15, 16, 17], [7] * 8, [*range(9, 1, -1)], [*range(0xFFFC, 0x10000), 0, 1, 2, 3]]
)
def test_identifications_matter_where_a_packet_may_become_fragments(numbers: list[int]) -> None:
    def frames(dont_fragment: bool) -> list[bytes]:
        ips = [{"identification": number, "dont_fragment": dont_fragment} for number in numbers]
        return [super_udp(*FOUR, bytes(60), 60, ip=ip).frame for ip in ips]

    assert gather(frames(False)) == frames(False)
    (one,) = gather(frames(True))
    assert segments([one]) == segments(frames(True))


def test_identifications_that_count_are_no_hindrance_where_they_matter() -> None:
    ips = [{"identification": 0xFFF0 + number, "dont_fragment": False} for number in range(12)]
    frames = [super_udp(*FOUR, bytes(60), 60, ip=ip).frame for ip in ips]
    (one,) = gather(frames)
    assert segment(Packet(one)) == [ip for frame in frames for ip in segment(Packet(frame))]


def with_fields(frame: bytes, fields: bytes, check: bytes | None = None) -> bytes:
    """With another identification and fragment field, and the header checksum that goes with them, or `check`."""
    head = frame[10:14] + fields + frame[18:20] + frame[22:30]
    if check is None:
        check = (0xFFFF - (ones_sum(head) or 0xFFFF)).to_bytes(2, "big")
    return frame[:10] + head[:10] + check + head[10:] + frame[30:]


@pytest.mark.parametrize("field", [0x8000, 0x2000, 0x0001, 0x6000, 0x4001], ids=hex)
def test_fragments_are_not_gathered(field: int) -> None:
    """Nor is what has the reserved bit."""
    frames = [with_fields(frame, bytes(2) + field.to_bytes(2, "big")) for frame in datagrams(FOUR, FEW, 64)]
    assert gather(frames) == frames


def test_an_ip_checksum_that_a_kernel_would_write_as_zero_is_left_alone() -> None:
    frames = []
    for frame in datagrams(FOUR, FEW, 64):
        # The identification that makes all other words of the header sum up to 0xFFFF.
        rest = 65535 - ones_sum(frame[10:14] + b"\0\0\x40\0" + frame[18:20] + frame[22:30])
        frames.append(with_fields(frame, rest.to_bytes(2, "big") + b"\x40\0", b"\xff\xff"))
    assert gather(frames) == frames


@both
def test_datagrams_without_payload_are_left_alone(addresses: tuple[str, str]) -> None:
    frames = datagrams(addresses, FEW, 0)
    assert gather(frames) == frames


def test_finished_checksums_are_left_to_those_who_verify_them() -> None:
    frames = [Packet.of(data).frame for data in segments(datagrams(FOUR, FEW))]
    assert gather(frames) == frames


PLACE = st.integers(0, 39)


@given(
    st.sampled_from([FOUR, SIX]), st.integers(FEW, 20), st.integers(1, 60),
    st.lists(st.tuples(PLACE, st.integers(1, 40), st.integers(0, 120), st.integers(1, 255)), max_size=4),
    st.lists(st.tuples(PLACE, st.integers(-20, 5)), max_size=2),
)  # fmt: skip
def test_whatever_is_wrong_in_a_batch_stays_as_wrong_as_it_was(
    addresses: tuple[str, str],
    count: int,
    size: int,
    flips: list[tuple[int, int, int, int]],
    lengths: list[tuple[int, int]],
) -> None:
    frames = [*datagrams(addresses, count, size), *datagrams(addresses, count, size, dport=7)]
    for first, span, at, mask in flips:
        for which in range(first, min(first + span, 2 * count)):
            frame = bytearray(frames[which])
            frame[at % len(frame)] ^= mask
            frames[which] = bytes(frame)
    for which, change in lengths:
        frame = frames[which % count]
        frames[which % count] = frame + bytes(change) if change > 0 else frame[:change] if change else frame
    assert segments(list(gather(frames))) == segments(frames)


@both
@pytest.mark.parametrize("before", [0, 1, FEW])
def test_all_of_a_run_wrong_in_the_same_way_is_no_better_than_one(addresses: tuple[str, str], before: int) -> None:
    """A shared fault must not be mended on the way: the lengths, the checksum's place, the IP checksum, flags. What
    was found in another flow's sound datagrams says nothing about those that follow."""
    sound = datagrams(addresses, before, dport=7)
    for at in range(10 + 48):
        wrong = [frame[:at] + bytes((frame[at] ^ 0x41,)) + frame[at + 1 :] for frame in datagrams(addresses, FEW)]
        assert segments(list(gather([*sound, *wrong]))) == segments([*sound, *wrong]), at


def test_tcp_is_none_of_its_business() -> None:
    frames = [Packet.of(tcp(*FOUR, bytes(100))).frame] * FEW
    assert gather(frames) == frames
