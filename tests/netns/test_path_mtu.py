"""mtu = "auto": the inner MTU is what the path carries, at once and when it changes, and nothing is lost in silence.

client ── server            The inner MTU is the path's, less IP and UDP header, less what QUIC and frame need.
"""

import threading

import pytest

from vpnrs_core.testkit.traffic import content, ping, tcp_transfer, together
from vpnrs_core.testkit.tunnel import SERVER4, SERVER6

SERVER = {4: SERVER4, 6: SERVER6}
ICMP = {4: 28, 6: 48}
UDP = {4: 28, 6: 48}
AROUND = {"aioquic": 42, "qh3": 44}  # qh3 keeps two bytes for a longer packet number


def with_engines(net, client="aioquic", server="aioquic"):
    for each, engine in ((net.client, client), (net.server, server)):
        changes = {"quic": {"engine": engine}}
        if engine == "qh3":
            changes["plugins"] = {"qh3": {}}
        each.configure(changes)
    return net


def mtu(net, each):
    """Of the TUN, as the kernel has it, which the session's must be, too."""
    status = each.status()
    session = status["client"]["session"] if each is net.client else status["server"]["sessions"][0]
    assert session["mtu"] == status["tun"]["mtu"]
    return int(each.namespace.run("cat", "/sys/class/net/vpnrs0/mtu").stdout)


@pytest.mark.parametrize("engines", [("aioquic", "aioquic"), ("qh3", "qh3"), ("qh3", "aioquic"), ("aioquic", "qh3")])
@pytest.mark.parametrize("underlay", [4, 6])
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
        status = each.status()
        assert "too_big" not in status["drops"]
        session = status["client"]["session"] if each is net.client else status["server"]["sessions"][0]
        assert session["links"][0]["facts"]["udp_payload"] == 1500 - UDP[underlay]


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


def swallow(net, up=None, down=None):
    """The router drops larger UDP payloads in silence, from now on; None: it drops nothing in that direction."""
    rules = [
        f'oifname "{to}" udp length > {size + 8} drop;' for to, size in (("server", up), ("client", down)) if size
    ]
    router = net.router_ns[0]
    router.run("nft", "delete", "table", "inet", "narrow", check=False)
    router.run("nft", RULES.format(" ".join(rules)))


def until(each, wanted):
    """The MTU of its TUN is that; the search passes by others on its way."""
    each.wait_for(f"at an MTU of {wanted}", lambda status: status["tun"]["mtu"] == wanted)


@pytest.mark.parametrize("engine", ["aioquic", "qh3"])
def test_a_black_hole_stops_no_transfer_and_is_left_again(routed, engine):
    net = routed(engine, engine).up()
    around, full = AROUND[engine], 1472 - AROUND[engine]
    assert (mtu(net, net.client), mtu(net, net.server)) == (full, full)
    shrunk = threading.Event()

    def change():
        try:
            swallow(net, up=1391, down=1360)
            until(net.server, 1360 - around)
            until(net.client, 1360 - around)
        finally:
            shrunk.set()

    def transfer():
        while not shrunk.is_set():
            tcp_transfer(net.client_ns[0], net.server_ns, SERVER4, content(2_000_000, 1), content(2_000_000, 2))

    together(transfer, change)
    assert mtu(net, net.server) == 1360 - around
    for version in (4, 6):
        ping(net.client_ns[0], SERVER[version], size=1360 - around - ICMP[version], dont_fragment=True)
