"""Everything through the tunnel, to a server that is reached by its name, behind a gateway, in both families.

client ── server            vpn.test is 10.250.0.1 and fd00:250::1, addresses of the server beyond the link
"""

from pathlib import Path

import pytest

from vpnrs_core.testkit.traffic import ping
from vpnrs_core.testkit.tunnel import SERVER4, SERVER6

FAR = {4: "10.250.0.1", 6: "fd00:250::1"}
GATEWAY = {4: "10.200.0.1", 6: "fd00:200::1"}
BEYOND = {4: "192.0.2.9", 6: "2001:db8::9"}


@pytest.fixture
def net(tunnel):
    """`ip netns exec` mounts /etc/netns/<namespace>/hosts over the client's /etc/hosts."""
    net = tunnel(underlay=6)
    ns = net.client_ns[0]
    for version, address in FAR.items():
        net.net.add_address(net.server_ns, "lo", f"{address}/{32 if version == 4 else 128}")
        ns.run("ip", f"-{version}", "route", "add", "default", "via", GATEWAY[version])
    folder = Path("/etc/netns") / ns.name
    folder.mkdir(parents=True, exist_ok=True)
    net.hosts = folder / "hosts"
    net.hosts.write_text("".join(f"{address} vpn.test\n" for address in FAR.values()))
    yield net
    net.hosts.unlink()


def goes_by(net, version, address):
    words = net.client_ns[0].run("ip", f"-{version}", "route", "get", address).stdout.split()
    return words[words.index("dev") + 1], words[words.index("via") + 1] if "via" in words else None


def test_a_server_is_reached_by_name_at_once_and_again_when_the_name_cannot_be_asked_any_more(net):
    """One default route is pushed, the other the client's own."""
    net.server.configure({"session": {"routes": ["0.0.0.0/0"]}, "quic": {"idle_timeout": 3, "keepalive": 1}})
    net.client.configure({
        "server": "vpn.test:4433", "routes": ["::/0"], "kill_switch": True, "reconnect": {"min": 0.3, "max": 0.5},
        "quic": {"idle_timeout": 3, "keepalive": 1},
    })  # fmt: skip
    net.up()
    for version in (4, 6):
        assert goes_by(net, version, BEYOND[version]) == ("vpnrs0", None)
        assert goes_by(net, version, FAR[version]) == ("server", GATEWAY[version])
    table = net.client_ns[0].run("nft", "list", "table", "inet", "vpnrs_client.kill").stdout
    assert all(f"daddr {address} udp dport 4433 accept" in table for address in FAR.values())
    # As it is when the DNS servers are behind the tunnel.
    net.hosts.write_text("")
    net.server.kill()
    net.server.start()
    net.client.wait_for(
        "connected again", lambda s: s["state"] == "connected" and net.client.log.count(" connected ") == 2, 20
    )
    for address in (SERVER4, SERVER6):
        ping(net.client_ns[0], address)
