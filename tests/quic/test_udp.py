"""The socket: grouping, addresses, offload and its fallbacks."""

import errno
import select
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.errors import ConfigError, HostError
from vpnrs_core.quic.resolve import resolve, split_where
from vpnrs_core.quic.udp import (
    MOST_BURST_BYTES,
    MOST_SEGMENTS,
    UdpSocket,
    address_text,
    bind,
    bursts,
    local_host,
    path_payload,
)

A, B = ("192.0.2.1", 1), ("192.0.2.2", 2)


@given(st.lists(st.sampled_from([0, 20, 21, 1200, 1350, 40000]), max_size=200))
def test_bursts_keep_every_packet_in_order_within_the_kernels_limits(shape):
    packets = [bytes([i % 256]) * size for i, size in enumerate(shape)]
    groups = bursts(packets)
    assert [packet for group in groups for packet in group] == packets
    for group in groups:
        sizes = [len(packet) for packet in group]
        assert len(set(sizes[:-1])) <= 1
        assert sizes[-1] <= sizes[0]
        assert len(group) == 1 or (sum(sizes) <= MOST_BURST_BYTES and len(group) <= MOST_SEGMENTS)


def test_equal_packets_share_a_burst():
    assert len(bursts([bytes(1300)] * 40)) == 1


def pair(host="127.0.0.1", **options):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    receiver = UdpSocket(bind((host, 0), family), **options)
    sender = UdpSocket(bind((host, 0), family), **options)
    return sender, receiver


def drain(receiver, count):
    found = []
    while len(found) < count:
        assert select.select([receiver], [], [], 2)[0], "nothing came"
        received = receiver.recv()
        assert received is not None
        data, size = received.data, received.segment
        found += [data[i : i + size] for i in range(0, len(data), size)]
    return found


@pytest.mark.parametrize("gso", [True, False])
@pytest.mark.parametrize("gro", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_same_bytes_arrive_with_and_without_offload(gso, gro, host):
    sender, receiver = pair(host, gso=gso, gro=gro)
    packets = [bytes([i]) * 1300 for i in range(40)] + [b"short"]
    try:
        assert sender.send(packets, receiver.name, b"") == 41
        assert drain(receiver, 41) == packets
        assert (sender.counters.packets_out, receiver.counters.packets_in) == (41, 41)
        assert sender.counters.bytes_out == receiver.counters.bytes_in == sum(map(len, packets))
    finally:
        sender.close()
        receiver.close()


class Refusing:
    """A real socket whose kernel or device refuses segmentation, as some do."""

    def __init__(self, sock, error):
        self._sock, self._error = sock, error

    def sendmsg(self, buffers, control, flags, address):
        if any(kind == 103 for _, kind, _ in control):
            raise OSError(self._error, "refused")
        return self._sock.sendmsg(buffers, control, flags, address)

    def __getattr__(self, name):
        return getattr(self._sock, name)


@pytest.mark.parametrize(("error", "still_on"), [(errno.EIO, False), (errno.EINVAL, True), (errno.EMSGSIZE, True)])
def test_refused_segmentation_sends_one_by_one(error, still_on):
    sender, receiver = pair()
    sender._sock = Refusing(sender._sock, error)
    packets = [bytes([i]) * 1000 for i in range(5)]
    try:
        assert sender.send(packets, receiver.name, b"") == 5
        assert drain(receiver, 5) == packets
        assert sender.gso is still_on
    finally:
        sender.close()
        receiver.close()


def test_a_full_buffer_is_told_and_never_waited_for():
    # A pair of Unix datagram sockets blocks as a congested interface does; UDP over loopback never does.
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.setblocking(False)

    class Unix:
        family = socket.AF_INET

        def sendmsg(self, buffers, control, flags, address):
            return left.sendmsg(buffers)

        def __getattr__(self, name):
            return getattr(left, name)

    sender = UdpSocket(Unix(), gso=False, gro=False)
    packets = [bytes(1000)] * 5000
    try:
        sent = sender.send(packets, A, b"")
        assert 0 < sent < 5000
        assert sender.counters.packets_out == sent
    finally:
        left.close()
        right.close()


def test_a_packet_too_large_for_the_path_is_lost_and_counted():
    sender, receiver = pair()
    try:
        assert sender.send([bytes(65_500), bytes(70_000)], receiver.name, b"") == 2
        assert sender.counters.too_large == 1
        assert drain(receiver, 1) == [bytes(65_500)]
    finally:
        sender.close()
        receiver.close()


@pytest.mark.parametrize(("listen", "dial"), [("0.0.0.0", "127.0.0.2"), ("::", "127.0.0.3"), ("::", "::1")])
def test_replies_leave_from_the_address_that_was_asked(listen, dial):
    server = UdpSocket(bind((listen, 0), socket.AF_INET6 if ":" in listen else socket.AF_INET))
    client = socket.socket(socket.AF_INET6 if ":" in dial else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        client.settimeout(2)
        client.sendto(b"question", (dial, server.name[1]))
        select.select([server], [], [], 2)
        asked = server.recv()
        assert local_host(asked.local) == dial
        assert server.send([b"answer"], asked.address, asked.local) == 1
        assert client.recvfrom(100)[1][0] == dial
    finally:
        server.close()
        client.close()


def test_the_loopback_path_takes_what_its_mtu_says():
    assert path_payload(("127.0.0.1", 9)) == 65535 - 28
    assert path_payload(("::1", 9, 0, 0)) == 65536 - 48


def test_addresses_read_as_people_write_them():
    assert address_text(("::ffff:192.0.2.1", 5, 0, 0)) == "192.0.2.1:5"
    assert address_text(("2001:db8::1", 5, 0, 0)) == "[2001:db8::1]:5"
    assert split_where("[::]:4433") == ("::", 4433)
    assert split_where("vpn.example:4433") == ("vpn.example", 4433)


@pytest.mark.parametrize("where", ["", "host", "host:", ":1", "::1:4433", "host:65536", "host:x", "[::1]"])
def test_bad_addresses_are_refused_with_the_form(where):
    with pytest.raises(ConfigError, match="Write"):
        split_where(where)


async def test_a_name_that_does_not_resolve_is_named():
    with pytest.raises(HostError, match=r"nowhere\.invalid cannot be resolved|name nowhere\.invalid"):
        await resolve("nowhere.invalid:1")
