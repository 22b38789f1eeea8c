"""Whatever carries them, the bytes that arrive are those that were sent: both lanes, and every offload on and off.

client ── server
"""

import pytest

from vpnrs_core.testkit.traffic import content, tcp_transfer, udp_exchange
from vpnrs_core.testkit.tunnel import SERVER4, SERVER6

ON_OFF = [(True, True), (True, False), (False, True), (False, False)]
DATA, BACK = content(3_000_000, 1), content(2_000_000, 2)


def carry(net):
    for address in (SERVER4, SERVER6):
        tcp_transfer(net.client_ns[0], net.server_ns, address, DATA, BACK)
        assert udp_exchange(net.client_ns[0], net.server_ns, address, datagrams=500) < 10


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


@pytest.mark.parametrize(("at_client", "at_server"), ON_OFF)
def test_tun_offloads_on_either_side_change_no_byte(tunnel, at_client, at_server):
    net = tunnel()
    net.client.configure({"tun": {"offload": at_client}})
    net.server.configure({"tun": {"offload": at_server}})
    net.up()
    assert bool(net.client.status()["tun"]["offloads"]) == at_client
    assert bool(net.server.status()["tun"]["offloads"]) == at_server
    carry(net)
    for each in (net.client, net.server):
        assert not {"malformed", "tun_write", "bad_payload", "bad_offload"} & set(each.status()["drops"])


@pytest.mark.parametrize(("gso", "gro"), ON_OFF[1:])
def test_udp_offloads_change_no_byte(tunnel, gso, gro):
    net = tunnel()
    for each in (net.client, net.server):
        each.configure({"quic": {"udp_gso": gso, "udp_gro": gro}})
    net.up()
    carry(net)
