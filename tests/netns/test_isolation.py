"""Clients do not reach each other, unless the server's configuration lets them.

client, client 1 ── server
"""

from vpnrs_core.testkit.traffic import content, ping, tcp_transfer, udp_exchange


def test_clients_are_isolated_by_default_and_the_attempt_is_counted(tunnel):
    net = tunnel(clients=2)
    net.server.configure({"forwarding": {"enable": True}})
    net.up()
    for count, (version, address) in enumerate(net.addresses(1).items(), 1):
        done = net.client_ns[0].run("ping", "-n", "-c1", "-W1", address, check=False)
        assert done.returncode == 1, f"IPv{version}: {done.stdout}"
        assert net.server.status()["drops"]["isolation"] == count
    received = {s["principal"]: s["egress"]["packets"] for s in net.server.status()["server"]["sessions"]}
    assert received["client1"] == 0
    drops = {s["principal"]: s["drops"] for s in net.server.status()["server"]["sessions"]}
    assert drops == {"client": {"isolation": 2}, "client1": {}}


def test_without_isolation_clients_reach_each_other(tunnel):
    net = tunnel(clients=2)
    net.server.configure({"session": {"isolation": False}, "forwarding": {"enable": True}})
    net.up()
    for address in net.addresses(1).values():
        ping(net.client_ns[0], address)
        tcp_transfer(net.client_ns[0], net.client_ns[1], address, content(1_000_000, 1), content(1_000_000, 2))
        assert udp_exchange(net.client_ns[0], net.client_ns[1], address, datagrams=200) < 10
    assert "isolation" not in net.server.status()["drops"]
