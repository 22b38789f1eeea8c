"""Whatever carries them, the bytes that arrive are those that were sent: both lanes, every pair of engines, every
offload on and off, the server's own traffic and what it forwards.

client ── server ── behind
"""

import socket

import pytest

from tests.netns.engines import with_engines
from tests.netns.pairs import udp_pair
from vpnrs_core.testkit.traffic import content, tcp_transfer, udp_exchange
from vpnrs_core.testkit.tunnel import BEHIND4, BEHIND6, BEHIND_NETWORKS, SERVER4, SERVER6

ENGINES = [("aioquic", "aioquic"), ("aioquic", "qh3"), ("qh3", "aioquic"), ("qh3", "qh3")]
DATA, BACK = content(3_000_000, 1), content(2_000_000, 2)
FAULTS = {"malformed", "tun_write", "bad_payload", "bad_offload", "unknown_context", "plugin_error"}

UDP_SEGMENT = 103  # linux/udp.h
BURST = [content(1000, number) for number in range(15)] + [b"and a shorter one"]


def carry(net):
    for address in (SERVER4, SERVER6):
        tcp_transfer(net.client_ns[0], net.server_ns, address, DATA, BACK)
        assert udp_exchange(net.client_ns[0], net.server_ns, address, datagrams=500) < 10


def carry_a_little(near, far, address):
    """Both ways at once, and datagrams that their sender's kernel gives as one super-packet, as QUIC stacks send."""
    tcp_transfer(near, far, address, DATA[:700_000], BACK[:500_000])
    assert udp_exchange(near, far, address, datagrams=64) < 10
    with udp_pair(near, far, address) as (sender, receiver):
        sender.setsockopt(socket.SOL_UDP, UDP_SEGMENT, len(BURST[0]))
        sender.send(b"".join(BURST))
        assert [receiver.recv(2000) for _ in BURST] == BURST


@pytest.mark.parametrize("lane", ["datagram", "stream"])
def test_both_lanes_carry_identical_bytes(tunnel, lane):
    net = tunnel()
    net.client.configure({"lane": lane})
    net.up()
    carry(net)
    [session] = net.server.status()["server"]["sessions"]
    assert [link["lane"] for link in session["links"]] == [lane]
    assert [link["codecs"] for link in session["links"]] == [["offload", "segments", "plain", "halves"]]
    assert [link["lane"] for link in net.client.status()["client"]["session"]["links"]] == [lane]


@pytest.mark.parametrize("client_tun", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("engines", ENGINES, ids="-".join)
def test_engines_and_offloads_change_no_byte(tunnel, engines, client_tun):
    """Six settings, every two of which meet in all their combinations: each pair of engines with each offload on and
    off, each end's TUN offloads with the other's, UDP_SEGMENT with UDP_GRO."""
    first, second = (engine == "qh3" for engine in engines)
    tuns = client_tun, client_tun ^ first ^ second
    gso, gro = client_tun ^ second, client_tun ^ first
    net = with_engines(tunnel(behind=True), *engines)
    for each, offload in zip((net.client, net.server), tuns, strict=True):
        each.configure({"tun": {"offload": offload}, "quic": {"udp_gso": gso, "udp_gro": gro}})
    net.server.configure({"session": {"routes": BEHIND_NETWORKS}, "forwarding": {"enable": True}})
    net.up()
    client, own = net.client_ns[0], net.addresses()
    for version, server, behind in ((4, SERVER4, BEHIND4), (6, SERVER6, BEHIND6)):
        carry_a_little(client, net.server_ns, server)
        carry_a_little(client, net.behind_ns, behind)
        carry_a_little(net.behind_ns, client, own[version])
    statuses = [net.client.status(), net.server.status()]
    assert tuple(bool(status["tun"]["offloads"]) for status in statuses) == tuns
    links = [statuses[0]["client"]["session"]["links"][0], statuses[1]["server"]["sessions"][0]["links"][0]]
    assert tuple(link["engine"] for link in links) == engines
    for status in statuses:
        assert not FAULTS & set(status["drops"])
