"""A client on a host that has IPv6 turned off, as containers often have, and a server that grants both families.

client ── server
"""

from vpnrs_core.testkit.traffic import ping
from vpnrs_core.testkit.tunnel import SERVER4

OFF = ("sysctl", "-q", "-w")


def test_ipv4_alone_is_asked_for_unless_the_host_has_ipv6_beside_the_tunnel(tunnel):
    net = tunnel()
    host = net.client_ns[0]
    net.client.configure({"routes": ["0.0.0.0/0", "::/0"]})
    host.run(*OFF, "net.ipv6.conf.all.disable_ipv6=1")
    net.up()
    ping(host, SERVER4)
    (address,) = net.client.status()["client"]["session"]["addresses"]
    assert address.startswith("10.77.0.")
    assert net.client.log.count("IPv6 is off on this host: the tunnel is asked for IPv4 alone") == 1
    assert set(net.stop().values()) == {0}
    assert net.left_behind() == []
    # Its own interfaces have IPv6, and what is routed to it would leave beside a tunnel of IPv4 alone: that is refused.
    host.run(*OFF, "net.ipv6.conf.all.disable_ipv6=0")
    host.run(*OFF, "net.ipv6.conf.default.disable_ipv6=1")
    net.remember()
    net.start_server()
    net.client.start()
    assert net.client.wait() != 0
    (line,) = [line for line in net.client.log.splitlines() if line.startswith("vpnrs: ")]
    assert "IPv6 is disabled on this host: 'sysctl -w net.ipv6.conf.default.disable_ipv6=0' turns it on" in line
    assert 'wanted = ["0.0.0.0/0"]' in line
