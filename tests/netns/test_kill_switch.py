"""Not one packet leaves beside the tunnel: while it connects, reconnects, when the server restarts, when the client is
killed, while it stops.

client ── server            The client's default routes lead to the server's host: what leaks is seen on the wire.
"""

import time

import pytest

from tests.netns.leaks import Leaks, await_closed, closed
from vpnrs_core.testkit.tunnel import SERVER4, SERVER6

SOON = {"quic": {"idle_timeout": 3, "keepalive": 1}, "reconnect": {"min": 0.3, "max": 0.5, "jitter": 0.1}}
EVERYTHING = ["0.0.0.0/0", "::/0"]


def armed(tunnel, **options):
    net = tunnel(**options)
    ns = net.client_ns[0]
    ns.run("ip", "route", "add", "default", "via", "10.200.0.1")
    ns.run("ip", "-6", "route", "add", "default", "via", "fd00:200:0::1")
    net.server.configure({"quic": SOON["quic"]})
    net.client.configure({**SOON, "routes": EVERYTHING, "kill_switch": True})
    net.remember()
    return net


def works(net):
    for address in (SERVER4, SERVER6):
        net.client_ns[0].run("ping", "-c1", "-W5", address)


@pytest.mark.parametrize("underlay", [4, 6])
def test_nothing_leaves_beside_the_tunnel(tunnel, underlay):
    net = armed(tunnel, underlay=underlay)
    net.client.configure({"kill_switch_after_crash": True})
    net.client.start()  # nobody answers yet
    await_closed(net)
    with Leaks(net) as leaks:
        net.client.wait_for("trying", lambda s: s["client"]["attempts"] >= 2)
        net.server.start()
        net.client.wait_state("connected")
        works(net)
        net.server.kill()
        net.server.start()
        net.client.wait_for(
            "connected again", lambda s: s["state"] == "connected" and net.client.log.count(" connected ") == 2, 20
        )
        works(net)
        net.client.kill()
        assert closed(net), "it outlives the crash"
        since = leaks.sent
        while leaks.sent < since + 200:
            time.sleep(0.02)
        net.client.start()
        net.client.wait_for("connected", lambda s: s["state"] == "connected", 20)
        works(net)
        assert leaks.found() == []
        assert leaks.carried > 50
        leaks.halt()
        # While it stops: whatever was sent before the switch was seen closed has not left.
        net.client.signal(15)
        held = []
        for number in range(1000):
            text = b" %d." % number
            leaks.probe(text)
            if not closed(net):
                break
            held.append(text)
        assert net.client.wait() == 0
        left = leaks.found()
        assert not [text for text in held if any(text in data for *_, data in left)]
        leaks.probe()
        assert leaks.found(), "what is looked for would be seen"
        assert leaks.sent > 1000


def test_a_crash_opens_the_switch_unless_asked_otherwise_and_an_error_leaves_it_to_stop(tunnel):
    net = armed(tunnel)
    net.client.configure({"reconnect": {"attempts": 1}})
    net.client.start()
    await_closed(net)
    net.client.kill()
    assert not closed(net)
    net.client.configure({"kill_switch_after_crash": True})
    net.client.start()
    assert net.client.wait() == 6, "nobody answered"
    assert closed(net)
    net.vpnrs_in(net.client_ns[0], "stop", "--instance", "client")
    assert not closed(net)
    assert net.left_behind() == []
