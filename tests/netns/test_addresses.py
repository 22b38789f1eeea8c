"""Who has which address in the tunnel: the server as configured, principals their own, nobody what is reserved.

client, client 1 ── server
"""

from vpnrs_core.testkit.traffic import ping


def test_server_static_and_reserved_addresses_are_as_configured(tunnel):
    net = tunnel(clients=2)
    net.server.configure(
        {
            "addresses": {
                "server_ipv4": "10.77.0.254",
                "server_ipv6": "fd77::fe",
                "reserve": ["10.77.0.1", "fd77::1"],
                "static": {"client1": ["10.77.0.50", "fd77::50"]},
            }
        }
    )
    net.up()
    assert net.addresses(0) == {4: "10.77.0.2", 6: "fd77::2"}
    assert net.addresses(1) == {4: "10.77.0.50", 6: "fd77::50"}
    for address in ("10.77.0.254", "fd77::fe"):
        for namespace in net.client_ns:
            ping(namespace, address)
    listed = net.server_ns.run("ip", "-br", "address", "show", "dev", net.server.status()["tun"]["name"]).stdout
    assert "10.77.0.254/24" in listed
    assert "fd77::fe/64" in listed


def test_a_freed_address_is_not_given_to_the_next_at_once(tunnel):
    net = tunnel(clients=2, ipv4="10.77.0.0/29", ipv6=None).up(0)
    assert net.addresses(0) == {4: "10.77.0.2"}
    net.client.stop()
    freed = net.server.wait_for("empty", lambda status: not status["server"]["sessions"])
    assert [pool["leased"] for pool in freed["server"]["pools"]] == [0]
    net.clients[1].start()
    net.clients[1].wait_state("connected")
    assert net.addresses(1) == {4: "10.77.0.3"}


def test_a_wish_for_a_free_address_is_granted_and_for_a_taken_one_is_not(tunnel):
    net = tunnel(clients=2)
    for client in net.clients:
        client.configure({"wanted": ["10.77.0.77/32"]})
    net.up(0)
    net.clients[1].start()
    net.clients[1].wait_state("connected")
    assert net.addresses(0) == {4: "10.77.0.77"}
    assert net.addresses(1) == {4: "10.77.0.2"}
