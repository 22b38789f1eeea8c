"""What is too large for the tunnel is answered with Packet Too Big, counted, and never lost in silence.

client ── server            The server's packets may have 1400 bytes, those of the session fewer.
"""

import errno
import socket
import time

import pytest

from tests.netns.ends import ends
from vpnrs_core.testkit.traffic import content, open_socket, ping, tcp_transfer
from vpnrs_core.testkit.tunnel import SERVER4, SERVER6

SERVER = {4: SERVER4, 6: SERVER6}
OVERHEAD = {4: 28, 6: 48}  # IP and ICMP, or UDP, header
# IP_MTU_DISCOVER, IP_MTU; IPV6_MTU_DISCOVER, IPV6_MTU (linux/in.h, in6.h); the value DO sets DF.
OPTIONS = {4: (socket.IPPROTO_IP, 10, 14), 6: (socket.IPPROTO_IPV6, 23, 24)}
DONT, DO = 0, 2
LARGE = 1400


@pytest.fixture
def narrow(tunnel):
    """The client takes 1300 bytes; the path would carry more."""
    net = tunnel()
    for each in (net.server, net.client):
        each.configure({"quic": {"max_udp_payload": 1472}})
    net.server.configure({"tun": {"mtu": LARGE}})
    net.client.configure({"tun": {"mtu": 1300}})
    return net.up()


@pytest.fixture
def narrow_path(tunnel):
    """Both sides would take 1400 bytes; the path between them carries less, which only the link finds out."""
    net = tunnel()
    net.client_ns[0].run("ip", "link", "set", "server", "mtu", "1420")
    net.server_ns.run("ip", "link", "set", "client", "mtu", "1420")
    for each in (net.server, net.client):
        each.configure({"tun": {"mtu": LARGE}, "quic": {"max_udp_payload": 1472}})
    return net.up()


def learned(namespace, address):
    text = namespace.run("ip", "route", "get", address).stdout
    return int(text.split(" mtu ")[1].split()[0]) if " mtu " in text else None


def until_refused(sender, datagram):
    """Send until the kernel knows better → the error; what the path answered to the one before comes with it."""
    for _ in range(200):
        try:
            sender.send(datagram)
        except OSError as error:
            return error.errno
        time.sleep(0.01)
    return None


@pytest.mark.parametrize("version", [4, 6])
def test_the_sender_learns_the_mtu_of_a_smaller_session(narrow, version):
    own = narrow.addresses()[version]
    [session] = narrow.server.status()["server"]["sessions"]
    assert session["mtu"] == 1300
    assert narrow.client.status()["tun"]["mtu"] == 1300
    ping(narrow.server_ns, own, size=1300 - OVERHEAD[version], dont_fragment=True)
    assert "too_big" not in narrow.server.status()["drops"]
    answer = ping(narrow.server_ns, own, size=LARGE - OVERHEAD[version], dont_fragment=True, count=1, check=False)
    assert "mtu" in answer.lower()
    assert "1300" in answer
    assert narrow.server.status()["drops"]["too_big"] == 1
    assert learned(narrow.server_ns, own) == 1300
    tcp_transfer(narrow.server_ns, narrow.client_ns[0], own, content(1_000_000, 1), content(1_000_000, 2))


@pytest.mark.parametrize("version", [4, 6])
def test_an_application_gets_emsgsize_once_the_mtu_is_known(narrow, version):
    level, discover, mtu = OPTIONS[version]
    with open_socket(narrow.server_ns, SERVER[version], socket.SOCK_DGRAM) as sender:
        sender.setsockopt(level, discover, DO)
        sender.connect((narrow.addresses()[version], 9))
        large = bytes(LARGE - OVERHEAD[version])
        sender.setblocking(False)
        assert until_refused(sender, large) == errno.EMSGSIZE
        assert sender.getsockopt(level, mtu) == 1300
    assert narrow.server.status()["drops"]["too_big"] >= 1


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_what_does_not_fit_the_path_is_answered_at_either_end(narrow_path, version, up):
    net, own = narrow_path, narrow_path.addresses()[version]
    sender, to, instance = (net.client_ns[0], SERVER[version], net.client) if up else (net.server_ns, own, net.server)
    answer = ping(sender, to, size=LARGE - OVERHEAD[version], dont_fragment=True, count=1, check=False)
    mtu = learned(sender, to)
    assert 1280 <= mtu < LARGE
    assert str(mtu) in answer
    assert instance.status()["drops"]["too_big"] == 1
    ping(sender, to, size=mtu - OVERHEAD[version], dont_fragment=True)
    receiver = net.server_ns if up else net.client_ns[0]
    tcp_transfer(sender, receiver, to, content(1_000_000, 1), content(1_000_000, 2))
    ends(net, version // 2 - 2 + up)


@pytest.mark.parametrize("version", [4, 6])
def test_tcp_is_cut_smaller_and_its_sender_learns_why(narrow_path, version):
    net, own = narrow_path, narrow_path.addresses()[version]
    assert learned(net.server_ns, own) is None
    tcp_transfer(net.server_ns, net.client_ns[0], own, content(1_000_000, 1), content(1_000_000, 2))
    assert 1280 <= learned(net.server_ns, own) < LARGE
    for each in (net.client, net.server):
        assert "too_big" not in each.status()["drops"]


def test_ipv4_that_may_be_fragmented_is(narrow):
    own = narrow.addresses()[4]
    with (
        open_socket(narrow.server_ns, SERVER4, socket.SOCK_DGRAM) as sender,
        open_socket(narrow.client_ns[0], own, socket.SOCK_DGRAM) as receiver,
    ):
        sender.setsockopt(socket.IPPROTO_IP, OPTIONS[4][1], DONT)
        for size in (LARGE - OVERHEAD[4], 1273, 8000):
            sender.sendto(content(size), receiver.getsockname())
            assert receiver.recv(65_535) == content(size)
    assert "too_big" not in narrow.server.status()["drops"]
