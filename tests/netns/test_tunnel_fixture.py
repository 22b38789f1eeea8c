"""The tunnel that all tests here build on comes up, and its end leaves nothing.

client ── relay ── server ── behind
"""

import subprocess

from vpnrs_core.testkit.tunnel import BEHIND4, SERVER4, SERVER6, TunnelNet


def test_two_clients_a_relay_and_a_host_behind_come_up_and_go():
    with TunnelNet(clients=2, relay={}, behind=True) as net:
        names = [each.name for each in net.net.namespaces]
        net.up()
        for n, namespace in enumerate(net.client_ns):
            assert set(net.addresses(n)) == {4, 6}
            namespace.run("ping", "-c1", "-W3", SERVER4)
            namespace.run("ping", "-c1", "-W3", SERVER6)
        principals = {session["principal"] for session in net.server.status()["server"]["sessions"]}
        assert principals == {"client", "client1"}
        net.server_ns.run("ping", "-c1", "-W3", BEHIND4)
        assert net.stop() == {"client": 0, "client1": 0, "server": 0}
        assert net.left_behind() == []
        directory = net.directory
    assert not directory.exists()
    left = subprocess.check_output(["ip", "netns"], text=True)
    assert not [name for name in names if name in left]
