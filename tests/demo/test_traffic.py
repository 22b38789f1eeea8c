"""The demo's traffic tells the truth: what arrives, what does not, and what was changed on the way."""

import socket
import threading

import pytest
from scapy.layers.inet import ICMP

from vpnrs_core.demo import traffic
from vpnrs_core.errors import PeerError
from vpnrs_core.testkit.netns import Namespace, Topology


@pytest.fixture
def ends(netns: Topology) -> tuple[Namespace, Namespace]:
    left, right = netns.namespace("left"), netns.namespace("right")
    netns.connect(left, right, "10.204.1.0/24", "fd00:204::/64")
    return left, right


def test_an_echo_request_is_one_to_others() -> None:
    message = ICMP(traffic.echo_request(4, 0x1234, 7, b"abc"))
    assert (message.type, message.code, message.id, message.seq, bytes(message.payload)) == (8, 0, 0x1234, 7, b"abc")
    sent = message.chksum
    del message.chksum
    assert ICMP(bytes(message)).chksum == sent


@pytest.mark.netns
def test_ping_is_answered_by_both_families(ends: tuple[Namespace, Namespace]) -> None:
    left, right = ends
    for address in right.addresses:
        assert 0 < traffic.ping(left.name, str(address), 3, 0.0) < 1000


@pytest.mark.netns
def test_ping_without_a_reply_is_an_error(
    ends: tuple[Namespace, Namespace], netns: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = ends
    monkeypatch.setattr(traffic, "PATIENCE", 0.3)
    right.run("ip", "address", "del", "10.204.1.2/24", "dev", "left")
    with pytest.raises((PeerError, OSError), match=r"no reply to request 1 of 3|No route to host"):
        traffic.ping(left.name, "10.204.1.2", 3, 0.0)


@pytest.mark.netns
def test_a_stream_is_measured_where_it_arrives(ends: tuple[Namespace, Namespace]) -> None:
    left, right = ends
    right.run("tc", "qdisc", "add", "dev", "left", "root", "tbf", "rate", "50mbit", "burst", "64kb", "latency", "50ms")
    with traffic.connected(left.name, right.name, "10.204.1.2") as (near, far):
        mbit = traffic.stream(far, near, 1.0)
    # The rest are headers, and the bucket that was full at the start.
    assert 40 < mbit < 60


@pytest.mark.netns
@pytest.mark.parametrize("which", [0, 1])
def test_an_echo_comes_back_whole(ends: tuple[Namespace, Namespace], which: int) -> None:
    left, right = ends
    moved, seen = traffic.echo(left.name, right.name, str(right.addresses[which]), 100_000)
    assert (moved, seen) == (200_000, str(left.addresses[which]))


def test_a_connection_that_breaks_is_an_error_and_ends_the_thread() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.shutdown(socket.SHUT_RD)
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            traffic.stream(near, far, 1.0)
    assert "demo-receiver" not in [thread.name for thread in threading.enumerate()]


def test_a_stream_of_which_nothing_arrives_is_an_error() -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(PeerError, match="nothing arrived"):
        traffic.stream(near, far, 0.0)
