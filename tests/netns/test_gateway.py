"""A server with `nat44`, and a plugin that asks for masquerading: the host behind sees the server's address, and a TCP
that fits the tunnel.

client ── server ── behind            The host behind has no route to the pools.
"""

import pytest

from vpnrs_core.testkit.capture import Capture
from vpnrs_core.testkit.traffic import content, tcp_transfer
from vpnrs_core.testkit.tunnel import BEHIND4, BEHIND6, BEHIND_NETWORKS, POOL4, POOL6

PLUGIN = """
from ipaddress import ip_network
import pydantic
from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import HostNeeds

class Config(pydantic.BaseModel):
    pass

class Plugin:
    Config = Config
    def __init__(self, config, ctx): pass
    @impl
    def vpnrs_declare_host_needs(self):
        return HostNeeds(masquerade=[ip_network("fd77::/64")], forwarding=True)
"""
TCP = 6


def mss(packet):
    """The MSS that a SYN announces, None: it is no SYN."""
    header = 20 if packet[0] >> 4 == 4 else 40
    segment = packet[header:]
    if not segment[13] & 0x02:
        return None
    options = segment[20 : (segment[12] >> 4) * 4]
    while options and options[0] != 2:
        options = options[1:] if options[0] == 1 else options[options[1] :]
    return int.from_bytes(options[2:4], "big")


@pytest.fixture
def net(tunnel, tmp_path):
    folder = tmp_path / "vpnrs_asking-1.0.dist-info"
    folder.mkdir()
    (tmp_path / "vpnrs_asking.py").write_text(PLUGIN)
    (folder / "entry_points.txt").write_text("[vpnrs]\nasking = vpnrs_asking:Plugin\n")
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: vpnrs-asking\nVersion: 1.0\nRequires-Dist: vpnrs-core>=0.1,<1\n"
    )
    net = tunnel(behind=True, env={"PYTHONPATH": str(tmp_path)})
    net.server.configure({"tun": {"mtu": 1280}})
    for pool in (POOL4, POOL6):
        net.behind_ns.run("ip", "-6" if ":" in pool else "-4", "route", "del", pool)
    return net


def test_what_comes_from_the_pool_leaves_with_the_servers_address_and_an_mss_that_fits(net):
    net.server.configure({
        "session": {"routes": BEHIND_NETWORKS}, "plugins": {"asking": {}},
        "forwarding": {"enable": True, "nat44": True},
    })  # fmt: skip
    net.up()
    with Capture(net.behind_ns, "server") as capture:
        for address in (BEHIND4, BEHIND6):
            tcp_transfer(net.client_ns[0], net.behind_ns, address, content(300_000, 1), content(300_000, 2))
        seen = [data for _, protocol, data in capture.packets() if protocol == TCP]
    sources = {data[12:16] if data[0] >> 4 == 4 else data[8:24] for data in seen}
    expected = (b"\x0a\x63\x00\x01", b"\x0a\x63\x00\x02")
    assert {each for each in sources if len(each) == 4} == set(expected)
    assert all(each.startswith(b"\xfd\x00\x00\x99") for each in sources if len(each) == 16)
    announced = {(data[0] >> 4, value) for data in seen if (value := mss(data))}
    assert {(4, 1240), (6, 1220)} <= announced
    net.stop()
    assert "table" not in net.server_ns.run("nft", "list", "tables").stdout


def test_clamping_alone_holds_what_others_announce(net):
    """The host behind would send 1460 bytes a segment."""
    for pool, via in ((POOL4, "10.99.0.1"), (POOL6, "fd00:99::1")):
        net.net.add_route(net.behind_ns, pool, via)
    net.server.configure({
        "session": {"routes": BEHIND_NETWORKS}, "forwarding": {"enable": True, "clamp_mss": True},
    })  # fmt: skip
    net.up()
    for version, far in ((4, 1240), (6, 1220)):
        own = net.addresses()[version]
        with Capture(net.client_ns[0], "vpnrs0") as capture:
            tcp_transfer(net.behind_ns, net.client_ns[0], own, content(100_000, 1))
            announced = {value for _, protocol, data in capture.packets() if protocol == TCP and (value := mss(data))}
        assert announced == {far}
