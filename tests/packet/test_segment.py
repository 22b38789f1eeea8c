"""Segments are complete packets whose checksums scapy confirms, and coalesce gives the super-packet back."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.all import IP, TCP, UDP, IPv6, raw  # type: ignore[attr-defined]

from vpnrs_core.packet.checksum import ones_sum
from vpnrs_core.packet.coalesce import coalesce
from vpnrs_core.packet.fragment import fragment
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.packet.vnet import GSO_ECN, GSO_UDP_L4
from vpnrs_core.testkit.packets import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, echo, super_tcp, super_udp, tcp, udp

FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")


def recomputed(ip: bytes) -> bytes:
    """The packet with all its checksums made new by scapy."""
    packet = IP(ip) if ip[0] >> 4 == 4 else IPv6(ip)
    for layer, field in ((IP, "chksum"), (TCP, "chksum"), (UDP, "chksum")):
        if layer in packet:
            delattr(packet[layer], field)
    return bytes(raw(packet))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([super_tcp, super_udp]), st.sampled_from([FOUR, SIX]), st.integers(0, 5000),
    st.integers(60, 1400), st.randoms(use_true_random=False),
)  # fmt: skip
def test_checksums_are_scapys(
    make: object, addresses: tuple[str, str], size: int, mss: int, rng: random.Random
) -> None:
    packet = make(*addresses, rng.randbytes(size), mss)  # type: ignore[operator]
    for ip in segment(packet):
        assert ip == recomputed(ip)


def flow(addresses: tuple[str, str], size: int, mss: int, rng: random.Random, **fields: int) -> list[bytes]:
    payload, number = rng.randbytes(size), rng.randrange(65536)
    seq = rng.randrange(2**32)
    return [
        tcp(
            *addresses, payload[at : at + mss], seq=(seq + at) % 2**32, **fields,
            ip={"identification": (number + at // mss) % 65536} if addresses is FOUR else {},
        )
        for at in range(0, size, mss)
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([FOUR, SIX]), st.integers(1, 9000), st.integers(100, 1400)), min_size=1, max_size=4
    ),
    st.randoms(use_true_random=False),
    st.integers(0, 3),
)
def test_any_interleaving_keeps_each_flows_bytes_and_order(
    shapes: list[tuple[tuple[str, str], int, int]], rng: random.Random, damaged: int
) -> None:
    flows = [flow(a, size, mss, rng, sport=1000 + i) for i, (a, size, mss) in enumerate(shapes)]
    for _ in range(damaged):
        packets = rng.choice(flows)
        index = rng.randrange(len(packets))
        at = rng.randrange(40, len(packets[index])) if len(packets[index]) > 60 else 36
        packets[index] = packets[index][:at] + bytes((packets[index][at] ^ 0x55,)) + packets[index][at + 1 :]
    order = [i for i, packets in enumerate(flows) for _ in packets]
    rng.shuffle(order)
    rest = [list(packets) for packets in flows]
    mixed = [rest[i].pop(0) for i in order]
    sound = [p for p in map(Packet.of, mixed) if is_sound(p)]
    out = [ip for packet in coalesce(sound) for ip in segment(packet)]
    assert sorted(out) == sorted(packet.data for packet in sound)

    def of(packets: list[bytes], i: int) -> list[bytes]:
        at = 20 if shapes[i][0] is FOUR else 40
        return [
            ip for ip in packets if ip[0] >> 4 == (4 if at == 20 else 6) and ip[at : at + 2] == (1000 + i).to_bytes(2)
        ]

    for i in range(len(flows)):
        assert of(out, i) == of([packet.data for packet in sound], i)


def is_sound(packet: Packet) -> bool:
    try:
        return packet.header is not None
    except ValueError:
        return False


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
def test_a_flow_is_joined_into_one_and_back(addresses: tuple[str, str]) -> None:
    packet = super_tcp(*addresses, random.Random(1).randbytes(40_001), 1360, flags=ACK | PSH | FIN, seq=0xFFFFF000)
    (joined,) = coalesce(list(map(Packet.of, segment(packet))))
    assert joined.frame == packet.frame
    packet = super_udp(*addresses, random.Random(1).randbytes(63 * 900 + 5), 900)
    (joined,) = coalesce(list(map(Packet.of, segment(packet))))
    assert joined.frame == packet.frame
    assert joined.gso_type == GSO_UDP_L4


def test_congestion_mark_stays_on_the_first() -> None:
    parts = flow(FOUR, 5000, 1000, random.Random(3))
    parts[0] = tcp(*FOUR, parts[0][40:], flags=ACK | CWR, seq=int.from_bytes(parts[0][24:28], "big"),
                   ip={"identification": int.from_bytes(parts[0][4:6], "big")})  # fmt: skip
    (joined,) = coalesce(list(map(Packet.of, parts)))
    assert joined.gso_type & GSO_ECN
    assert segment(joined) == parts


def two(**second: object) -> list[Packet]:
    """Two packets that would join, the second changed."""
    fields: dict[str, object] = {"seq": 1101, "ip": {"identification": 8}, "payload": bytes(100), **second}
    payload = fields.pop("payload")
    first = tcp(*FOUR, bytes(100), seq=1001, ip={"identification": 7})
    return [Packet.of(first), Packet.of(tcp(*FOUR, payload, **fields))]  # type: ignore[arg-type]


def test_the_pair_of_these_tests_does_join() -> None:
    assert len(coalesce(two())) == 1


@pytest.mark.parametrize(
    "second",
    [
        {"seq": 1102}, {"ack": 2}, {"window": 501}, {"options": b"\1\1\1\1"}, {"payload": bytes(101)}, {"payload": b""},
        {"flags": ACK | SYN}, {"flags": ACK | RST}, {"flags": ACK | URG}, {"flags": ACK | CWR}, {"flags": ACK | ECE},
        {"flags": 0}, {"ip": {"identification": 7}}, {"ip": {"identification": 8, "ttl": 63}},
        {"ip": {"identification": 8, "tos": 2}}, {"ip": {"identification": 8, "dont_fragment": False}}, {"sport": 9},
        {"ip": {"identification": 8, "options": bytes(4)}},
    ],
)  # fmt: skip
def test_what_differs_is_not_joined(second: dict[str, object]) -> None:
    packets = two(**second)
    assert coalesce(packets) == packets


@pytest.mark.parametrize("flags", [0, ACK | SYN, ACK | RST, ACK | URG, FIN])
def test_what_stands_alone_is_not_joined_with_its_like(flags: int) -> None:
    packets = [Packet.of(tcp(*SIX, bytes(100), seq=seq, flags=flags)) for seq in (1001, 1101)]
    assert coalesce(packets) == packets


def test_datagrams_with_options_behind_them_are_left_alone() -> None:
    """What the UDP length does not cover (RFC 9868) would become payload."""
    packets = []
    for number in (1, 2):
        ip = bytearray(super_udp(*FOUR, bytes(108), 200, ip={"identification": number}).frame)
        ip[10 + 25] -= 8  # the length, and the sum in the checksum's place
        ip[10 + 27] = (ip[10 + 27] - 8) % 256
        packets.append(Packet(bytes(ip)))
    assert coalesce(packets) == packets


def test_super_packets_and_inner_checksums_are_left_alone() -> None:
    whole = super_tcp(*SIX, bytes(300), 100, seq=1)
    following = super_tcp(*SIX, bytes(100), 100, seq=301)
    assert coalesce([whole, following]) == [whole, following]
    frames = [super_udp(*SIX, bytes(100), 200).frame] * 2
    for at, value in ((6, 44), (8, 10)):  # csum_start, csum_offset
        inner = [Packet(frame[:at] + bytes((value,)) + frame[at + 1 :]) for frame in frames]
        assert coalesce(inner) == inner


def test_an_ip_checksum_that_a_kernel_would_write_as_zero_is_left_alone() -> None:
    parts = []
    for ip in flow(FOUR, 2000, 1000, random.Random(17)):
        # The identification that makes all other words of the header sum up to 0xFFFF.
        rest = ones_sum(ip[:4] + bytes(2) + ip[6:10] + ip[12:20])
        parts.append(ip[:4] + (65535 - rest).to_bytes(2, "big") + ip[6:10] + b"\xff\xff" + ip[12:])
    assert [packet.data for packet in coalesce(list(map(Packet.of, parts)))] == parts


def test_push_and_a_short_segment_end_a_run() -> None:
    parts = list(map(Packet.of, flow(FOUR, 2500, 1000, random.Random(5))))
    tail = tcp(*FOUR, b"x", seq=int.from_bytes(parts[-1].data[24:28], "big") + 500)
    assert [packet.segments for packet in coalesce([*parts, Packet.of(tail)])] == [3, 1]
    pushed = two()
    first = tcp(*FOUR, bytes(100), seq=1001, flags=ACK | PSH, ip={"identification": 7})
    assert len(coalesce([Packet.of(first), pushed[1]])) == 2


@pytest.mark.parametrize("bad", [0, 1, 2, 4])
@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
def test_a_wrong_checksum_stays_wrong_and_parts_the_run(addresses: tuple[str, str], bad: int) -> None:
    parts = flow(addresses, 5000, 1000, random.Random(7))
    parts[bad] = parts[bad][:-1] + bytes((parts[bad][-1] ^ 1,))
    joined = coalesce(list(map(Packet.of, parts)))
    assert [ip for packet in joined for ip in segment(packet)] == parts
    assert sum(packet.segments == 1 for packet in joined) >= 1


def test_a_wrong_ip_header_checksum_stays_wrong() -> None:
    parts = [ip[:10] + bytes((ip[10] ^ 1,)) + ip[11:] for ip in flow(FOUR, 3000, 1000, random.Random(9))]
    assert [packet.data for packet in coalesce(list(map(Packet.of, parts)))] == parts


def test_udp_without_checksum_is_left_alone() -> None:
    parts = [udp(*FOUR, bytes(50), ip={"identification": n}) for n in (1, 2)]
    parts = [ip[:26] + b"\0\0" + ip[28:] for ip in parts]
    assert [packet.data for packet in coalesce(list(map(Packet.of, parts)))] == parts


def test_udp_runs_have_at_most_64_segments() -> None:
    parts = [Packet.of(udp(*SIX, bytes(50))) for _ in range(100)]
    assert [packet.segments for packet in coalesce(parts)] == [64, 36]


def test_a_run_stays_within_64_kib() -> None:
    parts = list(map(Packet.of, flow(FOUR, 100_000, 1360, random.Random(11))))
    joined = coalesce(parts)
    assert [packet.segments for packet in joined] == [48, 26]
    assert all(packet.header.length <= 65535 for packet in joined)


def test_nothing_overtakes_a_fragment_of_its_flow() -> None:
    small = [udp(*FOUR, bytes(50), ip={"identification": n}) for n in (1, 2)]
    pieces = fragment(udp(*FOUR, bytes(3000), ip={"dont_fragment": False}), 1400)
    batch = list(map(Packet.of, [small[0], pieces[1], small[1]]))
    assert coalesce(batch) == batch


def test_other_protocols_pass_between() -> None:
    parts = flow(FOUR, 3000, 1000, random.Random(13))
    batch = [parts[0], echo(*FOUR), parts[1], parts[2]]
    joined = coalesce(list(map(Packet.of, batch)))
    assert [packet.segments for packet in joined] == [3, 1]
    assert joined[1].data == echo(*FOUR)


def test_only_what_the_tun_takes_is_joined() -> None:
    four, six = (list(map(Packet.of, flow(a, 3000, 1000, random.Random(15)))) for a in (FOUR, SIX))
    assert len(coalesce(four + six, frozenset({"tcp6"}))) == 4
    assert len(coalesce(four + six, frozenset())) == 6


def test_packets_of_two_sessions_stay_apart() -> None:
    first, second = two()
    assert len(coalesce([first, second.with_session(object())])) == 2  # type: ignore[arg-type]
