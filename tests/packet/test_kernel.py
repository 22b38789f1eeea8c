"""The kernel as oracle: what it forwards of our frames is what we would have sent ourselves.

test process → in0 (TUN, vnet_hdr, all offloads) → kernel forwards, hop limit - 1 → out0 (TUN, no offload) → compare
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpnrs_core.packet.coalesce import coalesce
from vpnrs_core.packet.cut import cut
from vpnrs_core.packet.fragment import fragment
from vpnrs_core.packet.join import join
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit.packets import ACK, CWR, ECE, FIN, PSH, super_tcp, super_udp, tcp, udp

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and /dev/net/tun"),
]

FOUR, SIX = ("10.1.0.1", "10.2.0.1"), ("fd01::1", "fd02::1")
TIMESTAMPS = bytes.fromhex("0101080a0000123400005678")
SACK = bytes.fromhex("0101050a0000100000002000")
V6_OPTION = bytes.fromhex("1e0400000000")  # a destination option that is to be skipped if unknown


class Kernel:
    """A namespace that forwards; `mtu` is that of its outgoing device."""

    def __init__(self, mtu: int = 65535) -> None:
        self.name = f"vt{secrets.token_hex(4)}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        script = str(Path(__file__).with_name("forwarder.py"))
        try:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, sys.executable, script, str(mtu)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert self.process.stdout is not None
            assert self.process.stdout.readline() == "[]\n"
        except BaseException:
            self.close()
            raise

    def forward(self, packet: Packet, expect: int) -> list[bytes]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"frame": packet.frame.hex(), "expect": expect}) + "\n")
        self.process.stdin.flush()
        return [bytes.fromhex(text) for text in json.loads(self.process.stdout.readline())]

    def close(self) -> None:
        if hasattr(self, "process"):
            self.process.communicate(timeout=10)
        subprocess.run(["ip", "netns", "del", self.name], check=True)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    yield kernel
    kernel.close()


@pytest.fixture(scope="module")
def narrow_kernel() -> Iterator[Kernel]:
    kernel = Kernel(mtu=576)
    yield kernel
    kernel.close()


def hop(ip: bytes) -> bytes:
    """The packet after one router: TTL - 1 with the checksum that follows (RFC 1141), or hop limit - 1."""
    new = bytearray(ip)
    if ip[0] >> 4 == 6:
        new[7] -= 1
        return bytes(new)
    new[8] -= 1
    check = int.from_bytes(ip[10:12], "big") + 0x100
    new[10:12] = ((check & 0xFFFF) + (check >> 16)).to_bytes(2, "big")
    return bytes(new)


def assert_same(kernel: Kernel, packet: Packet, ours: list[bytes]) -> None:
    theirs = kernel.forward(packet, len(ours))
    assert len(theirs) == len(ours)
    for index, (mine, kernels) in enumerate(zip(ours, theirs, strict=True)):
        assert hop(mine).hex() == kernels.hex(), f"segment {index} of {len(ours)}"


def ip_options(addresses: tuple[str, str], **fields: object) -> dict[str, object]:
    return fields if addresses is FOUR else {k: v for k, v in fields.items() if k in ("tos", "ttl", "options")}


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
@pytest.mark.parametrize("options", [b"", TIMESTAMPS, SACK, TIMESTAMPS + SACK], ids=["bare", "ts", "sack", "both"])
@pytest.mark.parametrize("flags", [ACK, ACK | PSH, ACK | PSH | FIN, ACK | ECE | CWR, ACK | CWR | PSH])
@pytest.mark.parametrize("size", [2 * 1360, 5 * 1360 + 1, 1361, 44 * 1360 + 999])
def test_tcp_segments(kernel: Kernel, addresses: tuple[str, str], options: bytes, flags: int, size: int) -> None:
    packet = super_tcp(*addresses, os.urandom(size), 1360, flags=flags, options=options)
    if flags & CWR:
        packet = Packet(packet.frame[:1] + bytes((packet.frame[1] | 0x80,)) + packet.frame[2:])
    assert_same(kernel, packet, segment(packet))


@pytest.mark.parametrize("dont_fragment", [True, False])
@pytest.mark.parametrize("identification", [0, 0xFFFE, 0xFFFF])
def test_ipv4_identification_counts_and_wraps(kernel: Kernel, dont_fragment: bool, identification: int) -> None:
    ip: dict[str, object] = {"identification": identification, "dont_fragment": dont_fragment}
    packet = super_tcp(*FOUR, os.urandom(7000), 1000, ip=ip)
    assert_same(kernel, packet, segment(packet))


def test_tcp_sequence_wraps(kernel: Kernel) -> None:
    packet = super_tcp(*FOUR, os.urandom(7000), 1001, seq=0xFFFFFFFF - 3000)
    assert_same(kernel, packet, segment(packet))


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
def test_hundreds_of_segments_of_a_tiny_mss(kernel: Kernel, addresses: tuple[str, str]) -> None:
    packet = super_tcp(*addresses, os.urandom(742 * 88 - 3), 88, flags=ACK | PSH)
    ours = segment(packet)
    assert len(ours) == 742
    assert_same(kernel, packet, ours)
    parts = packet.split(256)
    assert [part.segments for part in parts] == [256, 256, 230]
    for part, first in zip(parts, (0, 256, 512), strict=True):
        assert_same(kernel, part, ours[first : first + 256])


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
@pytest.mark.parametrize("size", [1201, 3 * 1200, 40 * 1200 + 7])
def test_udp_segments(kernel: Kernel, addresses: tuple[str, str], size: int) -> None:
    packet = super_udp(*addresses, os.urandom(size), 1200)
    assert_same(kernel, packet, segment(packet))


@pytest.mark.parametrize("make", [super_tcp, super_udp])
def test_ipv6_destination_options(kernel: Kernel, make: object) -> None:
    packet = make(*SIX, os.urandom(5000), 1200, ip={"options": V6_OPTION})  # type: ignore[operator]
    assert packet.l4_offset == 48
    assert_same(kernel, packet, segment(packet))


def test_ipv4_options(kernel: Kernel) -> None:
    packet = super_tcp(*FOUR, os.urandom(5000), 1200, ip={"options": bytes.fromhex("94040000")})
    assert_same(kernel, packet, segment(packet))


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
@pytest.mark.parametrize("make", [super_tcp, super_udp])
@pytest.mark.parametrize("size", [0, 1, 999])
def test_lone_packet_with_a_partial_checksum(
    kernel: Kernel, addresses: tuple[str, str], make: object, size: int
) -> None:
    packet = make(*addresses, os.urandom(size), 1360)  # type: ignore[operator]
    assert packet.needs_csum
    assert_same(kernel, packet, segment(packet))


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 3), (2, 4), (5, 1), (5, 2), (6, 1)])
def test_a_slice_becomes_the_same_segments(kernel: Kernel, addresses: tuple[str, str], first: int, count: int) -> None:
    whole = super_tcp(*addresses, os.urandom(6 * 1000 + 5), 1000, flags=ACK | PSH | FIN, options=TIMESTAMPS)
    assert whole.segments == 7
    assert_same(kernel, whole.slice(first, count), segment(whole)[first : first + count])


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
def test_the_kernel_gives_back_what_was_joined(kernel: Kernel, addresses: tuple[str, str]) -> None:
    data, packets = os.urandom(20 * 1000 + 5), []
    for index, at in enumerate(range(0, len(data), 1000)):
        ip = {"identification": 0xFFF8 + index & 0xFFFF} if addresses is FOUR else {}
        flags = ACK | PSH if index == 20 else ACK
        fields = {"seq": 5000 + at, "flags": flags, "options": TIMESTAMPS}
        packets.append(tcp(*addresses, data[at : at + 1000], ip=dict(ip), **fields))
    (joined,) = coalesce([Packet.of(data) for data in packets])
    assert_same(kernel, joined, packets)
    datagrams = [
        udp(*addresses, os.urandom(700), ip={"identification": 9 + index} if addresses is FOUR else {})
        for index in range(64)
    ]
    (joined,) = coalesce([Packet.of(data) for data in datagrams])
    assert_same(kernel, joined, datagrams)


def assert_joined_same(kernel: Kernel, whole: Packet, order: list[int]) -> None:
    """What arrives of a super-packet's payloads, in this order, becomes the segments of the whole."""
    payloads, segments = cut(whole), segment(whole)
    dropped: list[None] = []
    at = 0
    for part in join([payloads[index] for index in order], lambda: dropped.append(None)):
        expected = [segments[index] for index in order[at : at + part.segments]]
        assert_same(kernel, part, expected)
        at += part.segments
    assert at == len(order)
    assert not dropped


ARRIVALS = [list(range(9)), [0, 1, 2], [3, 4, 5, 6, 7, 8], [1, 2, 4, 5, 5, 8], [8, 0], [2, 1, 0, 6, 7, 3, 8]]


@pytest.mark.parametrize("order", ARRIVALS, ids=str)
@pytest.mark.parametrize("dont_fragment", [True, False], ids=["df", "no_df"])
@pytest.mark.parametrize("flags", [ACK, ACK | PSH | FIN, ACK | ECE | CWR])
def test_whatever_arrives_becomes_the_wholes_segments(
    kernel: Kernel, order: list[int], dont_fragment: bool, flags: int
) -> None:
    data = os.urandom(8 * 1000 + 5)
    ip: dict[str, object] = {"identification": 0xFFFC, "dont_fragment": dont_fragment}
    fields = {"flags": flags, "options": TIMESTAMPS + SACK, "seq": 0xFFFFF000}
    for whole in (super_tcp(*FOUR, data, 1000, ip=ip, **fields), super_tcp(*SIX, data, 1000, **fields)):
        if flags & CWR:
            whole = Packet(whole.frame[:1] + bytes((whole.frame[1] | 0x80,)) + whole.frame[2:])
        assert_joined_same(kernel, whole, order)


@pytest.mark.parametrize("order", ARRIVALS, ids=str)
def test_whatever_arrives_of_datagrams_and_extended_headers(kernel: Kernel, order: list[int]) -> None:
    data, ip = os.urandom(8 * 1200 + 1), {"options": V6_OPTION}
    for addresses in (FOUR, SIX):
        assert_joined_same(kernel, super_udp(*addresses, data, 1200), order)
    for make in (super_tcp, super_udp):
        assert_joined_same(kernel, make(*SIX, data, 1200, ip=dict(ip)), order)


def test_a_tiny_mss_crosses_as_several_super_packets(kernel: Kernel) -> None:
    whole = super_tcp(*FOUR, os.urandom(742 * 88 - 3), 88, flags=ACK | PSH, options=TIMESTAMPS)
    assert_joined_same(kernel, whole, list(range(742)))


@pytest.mark.parametrize("addresses", [FOUR, SIX], ids=["v4", "v6"])
def test_the_kernel_finishes_what_was_joined_with_partial_checksums(kernel: Kernel, addresses: tuple[str, str]) -> None:
    parts = [
        super_udp(
            *addresses, os.urandom(700 if index < 40 else 9), 1200,
            ip={"identification": 0xFFF0 + index & 0xFFFF} if addresses is FOUR else {},
        )
        for index in range(41)
    ]  # fmt: skip
    (joined,) = coalesce(parts)
    assert_same(kernel, joined, [ip for part in parts for ip in segment(part)])


ROUTER_ALERT = "94040000"  # copied into each fragment
FULL_RECORD_ROUTE = "0707080a03000101"  # not copied
SECURITY = "82040000"  # copied


@pytest.mark.parametrize("options", ["", ROUTER_ALERT, FULL_RECORD_ROUTE, FULL_RECORD_ROUTE + SECURITY])
@pytest.mark.parametrize("size", [600, 1400, 5000])
def test_fragments(narrow_kernel: Kernel, options: str, size: int) -> None:
    data = udp(*FOUR, os.urandom(size), ip={"dont_fragment": False, "options": bytes.fromhex(options)})
    ours = fragment(data, 576)
    theirs = narrow_kernel.forward(Packet.of(data), len(ours))
    assert [hop(ip).hex() for ip in ours] == [ip.hex() for ip in theirs]


def test_a_fragment_is_fragmented_further(narrow_kernel: Kernel) -> None:
    data = udp(*FOUR, os.urandom(3000), ip={"dont_fragment": False})
    for part in fragment(data, 1400):
        ours = fragment(part, 576)
        theirs = narrow_kernel.forward(Packet.of(part), len(ours))
        assert [hop(ip).hex() for ip in ours] == [ip.hex() for ip in theirs]


@pytest.mark.parametrize("family", ["4", "6"])
@pytest.mark.parametrize("segments", ["1", "3"])
@pytest.mark.parametrize(("kind", "learned"), [("too_big", "1300"), ("unreachable", "ECONNREFUSED")])
def test_the_senders_kernel_believes_our_errors(family: str, segments: str, kind: str, learned: str) -> None:
    name, script = f"vt{secrets.token_hex(4)}", str(Path(__file__).with_name("errors_to_kernel.py"))
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        command = ["ip", "netns", "exec", name, sys.executable, script, family, segments, kind]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=20, check=True)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    assert done.stdout.strip() == learned
