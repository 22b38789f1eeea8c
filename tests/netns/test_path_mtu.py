"""mtu = "auto": the inner MTU is what the path carries, at once and when it changes, and nothing is lost in silence.

client ── server            The inner MTU is the path's, less IP and UDP header, less what QUIC and frame need.
"""

import socket
import threading

import pytest

from tests.netns.engines import with_engines
from vpnrs_core.testkit.traffic import content, open_socket, ping, tcp_transfer, together, udp_exchange
from vpnrs_core.testkit.tunnel import SERVER4, SERVER6

SERVER = {4: SERVER4, 6: SERVER6}
ICMP = {4: 28, 6: 48}
UDP = {4: 28, 6: 48}
# IP_MTU_DISCOVER, IP_MTU; IPV6_MTU_DISCOVER, IPV6_MTU (linux/in.h, in6.h).
OPTIONS = {4: (socket.IPPROTO_IP, 10, 14), 6: (socket.IPPROTO_IPV6, 23, 24)}
# qh3 keeps two bytes for a longer packet number: its packets, and probes, have two less than their limit.
AROUND = {"aioquic": 42, "qh3": 44}


def session_of(net, each):
    status = each.status()
    session = status["client"]["session"] if each is net.client else status["server"]["sessions"][0]
    assert session["mtu"] == status["tun"]["mtu"]
    return session


def link_of(net, each):
    [link] = session_of(net, each)["links"]
    return link


def mtu(net, each):
    """Of the TUN, as the kernel has it, which the session's must be, too."""
    assert session_of(net, each)
    return int(each.namespace.run("cat", "/sys/class/net/vpnrs0/mtu").stdout)


@pytest.mark.parametrize(
    ("underlay", "engines"),
    [(4, ("aioquic", "aioquic")), (4, ("qh3", "qh3")), (6, ("qh3", "aioquic")), (6, ("aioquic", "qh3"))],
)
def test_a_path_of_1500_is_filled_from_the_first_packet_on(tunnel, underlay, engines):
    net = with_engines(tunnel(underlay=underlay), *engines).up()
    up, down = (1500 - UDP[underlay] - AROUND[engine] for engine in engines)
    assert (mtu(net, net.client), mtu(net, net.server)) == (min(up, down), down)
    own = net.addresses()
    for version in (4, 6):
        for of, to in ((net.client_ns[0], SERVER[version]), (net.server_ns, own[version])):
            ping(of, to, size=min(up, down) - ICMP[version], dont_fragment=True)
    tcp_transfer(net.client_ns[0], net.server_ns, SERVER4, content(500_000, 1), content(500_000, 2))
    for each in (net.client, net.server):
        assert "too_big" not in each.status()["drops"]
        assert link_of(net, each)["facts"]["udp_payload"] == 1500 - UDP[underlay]


# client ── router ── server: the path changes behind the backs of both.

# A twentieth of it passes before the first look after a black hole.
QUICK = {"tun": {"mtu_raise_interval": 20}, "quic": {"udp_gso": False}}
RULES = "table inet narrow {{ chain forward {{ type filter hook forward priority 0; {} }}; }}"


@pytest.fixture
def routed(tunnel):
    def make(client="aioquic", server="aioquic", **options):
        net = with_engines(tunnel(router=True, **options), client, server)
        for each in (net.client, net.server):
            each.configure(QUICK)
        return net

    return make


def narrow_link(net, size):
    """The link between router and server."""
    for namespace, interface in ((net.server_ns, "router0"), (net.router_ns[0], "server")):
        namespace.run("ip", "link", "set", interface, "mtu", str(size))


def swallow(net, up=None, down=None):
    """The router drops larger UDP payloads in silence, from now on; None: it drops nothing in that direction."""
    rules = [f'oifname "{to}" udp length > {size + 8} drop;' for to, size in (("server", up), ("client", down)) if size]
    fresh = "add table inet narrow; delete table inet narrow;"  # one transaction with what follows
    net.router_ns[0].run("nft", fresh + (RULES.format(" ".join(rules)) if rules else ""))


def until_searched(net, each, *sizes):
    """UDP payloads of its link have one of these sizes."""
    each.wait_for("connected", lambda status: status["state"] == "connected" or status["server"]["sessions"])
    each.wait_for(f"sending {sizes}", lambda _: link_of(net, each)["facts"]["udp_payload"] in sizes)


def until(each, wanted):
    """The MTU of its TUN is that; the search passes by others on its way."""
    each.wait_for(f"at an MTU of {wanted}", lambda status: status["tun"]["mtu"] == wanted)


def test_a_black_hole_stops_no_transfer_and_is_left_again(routed):
    """Each engine finds out about its own direction."""
    net = routed("aioquic", "qh3").up()
    assert (mtu(net, net.client), mtu(net, net.server)) == (1428, 1428)
    found, shrunk = 1360 - 42, threading.Event()

    def change():
        try:
            # One after the other: with smaller packets by the other's finding, an end need not notice its own.
            swallow(net, up=1391)
            until_searched(net, net.client, 1391)
            swallow(net, up=1391, down=1360)
            until(net.server, found)
            until(net.client, found)
        finally:
            shrunk.set()

    def transfer():
        while not shrunk.is_set():
            tcp_transfer(net.client_ns[0], net.server_ns, SERVER4, content(2_000_000, 1), content(2_000_000, 2))

    together(transfer, change)
    assert mtu(net, net.server) == found
    assert link_of(net, net.client)["facts"]["udp_payload"] == 1391
    for version in (4, 6):
        ping(net.client_ns[0], SERVER[version], size=found - ICMP[version], dont_fragment=True)
        ping(net.server_ns, net.addresses()[version], size=found - ICMP[version], dont_fragment=True)
    swallow(net)


def test_ipv6_that_fits_no_datagram_travels_in_halves(routed):
    """IPv6's own least MTU as the underlay: what IPv6 must carry in the tunnel is more than fits a datagram."""
    net = routed("aioquic", "qh3", underlay=6)
    narrow_link(net, 1280)
    net.up()
    until_searched(net, net.client, 1232)
    until_searched(net, net.server, 1232, 1200)  # qh3 falls back by itself when its first packets are lost
    assert (mtu(net, net.client), mtu(net, net.server)) == (1280, 1280)
    own = net.addresses()
    for of, to in ((net.client_ns[0], SERVER6), (net.server_ns, own[6])):
        for size in (1280, 1200, 900):
            ping(of, to, size=size - ICMP[6], dont_fragment=True)
    for each, to, engine in ((net.client, SERVER4, "aioquic"), (net.server, own[4], "qh3")):
        payload = link_of(net, each)["facts"]["udp_payload"]
        answer = ping(each.namespace, to, size=1280 - ICMP[4], dont_fragment=True, count=1, check=False)
        assert f"mtu = {payload - AROUND[engine]})" in answer
        ping(each.namespace, to, size=payload - AROUND[engine] - ICMP[4], dont_fragment=True)
    for to in (SERVER4, SERVER6):
        tcp_transfer(net.client_ns[0], net.server_ns, to, content(1_000_000, 1), content(1_000_000, 2))
    udp_exchange(net.client_ns[0], net.server_ns, SERVER6, datagrams=200, size=1280 - 48)
    assert "malformed" not in net.server.status()["drops"]


def test_what_icmp_says_is_followed_and_udp_learns_the_size(routed):
    """The link between router and server shrinks: the router says so to the client, the server's own host refuses."""
    net = routed().up()
    narrow_link(net, 1400)
    tcp_transfer(net.client_ns[0], net.server_ns, SERVER4, content(500_000, 1), content(500_000, 2))
    smaller = 1400 - UDP[4] - AROUND["aioquic"]
    until(net.client, smaller)
    until(net.server, smaller)
    for version, (level, discover, option) in OPTIONS.items():
        with open_socket(net.client_ns[0], net.addresses()[version], socket.SOCK_DGRAM) as sender:
            sender.setsockopt(level, discover, 2)
            sender.connect((SERVER[version], 9))
            with pytest.raises(OSError, match="Message too long"):
                sender.send(bytes(smaller - ICMP[version] + 1))
            assert sender.getsockopt(level, option) == smaller
            sender.send(bytes(smaller - ICMP[version]))
    narrow_link(net, 1500)


def test_each_direction_has_its_own_size_and_grows_again(routed):
    net = routed()
    net.up()
    swallow(net, up=1350)
    tcp_transfer(net.client_ns[0], net.server_ns, SERVER4, content(500_000, 1), content(500_000, 2))
    until(net.client, 1350 - 42)
    assert mtu(net, net.server) == 1430
    swallow(net)
    until(net.client, 1430)
    ping(net.client_ns[0], SERVER6, size=1430 - ICMP[6], dont_fragment=True)


def test_below_what_quic_needs_there_is_no_connection_and_words_that_say_why(routed):
    net = routed()
    net.client.configure({"reconnect": {"min": 0.1, "jitter": 0}})
    swallow(net, up=1199)
    net.start_server()
    net.client.start()
    status = net.client.wait_for("refused twice", lambda status: status["client"]["attempts"] >= 2, 30)
    assert "no answer within 3 s" in status["client"]["last_error"]
    swallow(net, up=1200, down=1200)
    net.client.wait_state("connected")
    until(net.client, 1280)
    ping(net.client_ns[0], SERVER6, size=1280 - ICMP[6], dont_fragment=True)
    swallow(net, up=1199)
