"""Ping, TCP and UDP cross the tunnel in both directions, whatever families pool and underlay have.

client ── server
"""

import pytest

from tests.netns.ends import ends
from vpnrs_core.testkit.traffic import content, ping, tcp_transfer, udp_exchange
from vpnrs_core.testkit.tunnel import POOL4, POOL6, SERVER4, SERVER6

SERVER = {4: SERVER4, 6: SERVER6}
UP, DOWN = content(3_000_000, 1), content(2_000_000, 2)


@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize(
    ("round", "ipv4", "ipv6"),
    [(0, POOL4, POOL6), (1, POOL4, None), (2, None, POOL6)],
    ids=["dual", "v4-only", "v6-only"],
)
def test_all_kinds_of_traffic_arrive_unchanged_both_ways(tunnel, round, ipv4, ipv6, underlay):
    net = tunnel(ipv4=ipv4, ipv6=ipv6, underlay=underlay).up()
    client, server = net.client_ns[0], net.server_ns
    own = net.addresses()
    assert set(own) == {version for version, pool in ((4, ipv4), (6, ipv6)) if pool}
    for version, address in own.items():
        ping(client, SERVER[version])
        ping(server, address)
        tcp_transfer(client, server, SERVER[version], UP, DOWN)
        tcp_transfer(server, client, address, DOWN)
        assert udp_exchange(client, server, SERVER[version]) < 10
        assert udp_exchange(server, client, address, datagrams=200) < 10
    status = net.server.status()
    [session] = status["server"]["sessions"]
    assert session["ingress"]["bytes"] > 3_000_000 * len(own)
    assert session["egress"]["bytes"] > 2_000_000 * len(own)
    assert ("[" in session["links"][0]["remote"]) == (underlay == 6)
    assert not {"source", "malformed", "bad_payload", "tun_write", "too_big", "not_ours"} & set(status["drops"])
    ends(net, round)
