"""What a client sends in another's name is dropped at the server and counted: nothing of it reaches the networks there.

client, client 1 ── server
"""

import pytest

from tests.netns.ends import ends
from vpnrs_core.testkit.capture import Capture
from vpnrs_core.testkit.packets import udp
from vpnrs_core.testkit.tunnel import SERVER4, SERVER6

COPIES = 3
STRANGERS = {4: ["203.0.113.5", "10.77.0.200", "10.200.0.2"], 6: ["2001:db8::5", "fd77::200", "fd00:200:0::2"]}
SERVER = {4: SERVER4, 6: SERVER6}


@pytest.mark.parametrize("version", [4, 6])
def test_a_spoofed_source_is_dropped_and_counted(tunnel, version):
    net = tunnel(clients=2).up()
    own, other, server = net.addresses(0)[version], net.addresses(1)[version], SERVER[version]
    sources = [*STRANGERS[version], server, other]
    forged = [udp(source, server, b"forged " * 9, dport=9) for source in sources] * COPIES
    with (
        Capture(net.client_ns[0], net.client.status()["tun"]["name"]) as there,
        Capture(net.server_ns, net.server.status()["tun"]["name"]) as here,
    ):
        there.inject(udp(own, server, b"at first", dport=9))
        here.wait_for(b"at first")
        there.inject(*forged, udp(own, server, b"at last", dport=9))
        arrived = here.wait_for(b"at last")
    assert [packet for packet in arrived if b"forged" in packet] == []
    assert net.server.status()["drops"]["source"] == len(forged)
    by_session = {session["principal"]: session["drops"] for session in net.server.status()["server"]["sessions"]}
    assert by_session == {"client": {"source": len(forged)}, "client1": {}}
    assert net.clients[1].stop() == 0
    ends(net, 0 if version == 4 else 1)


def test_a_client_takes_nothing_that_is_not_for_it(tunnel):
    net = tunnel().up()
    own = net.addresses()
    with Capture(net.client_ns[0], net.client.status()["tun"]["name"]) as there:
        with Capture(net.server_ns, net.server.status()["tun"]["name"]) as here:
            here.inject(udp(own[4], own[4], b"in your own name", dport=9))
            here.inject(udp(SERVER4, own[4], b"at last", dport=9))
        arrived = there.wait_for(b"at last")
    assert [packet for packet in arrived if b"in your own name" in packet] == []
    assert net.client.status()["drops"]["source"] == 1
    ends(net, 2)
