"""`vpnrs doctor` on real hosts: a healthy one, one that lacks things, one with what a crash has left.

client ── server ── behind
"""

import json

from vpnrs_core.testkit.tunnel import BEHIND_NETWORKS


def doctor(net, namespace, *arguments):
    """→ (what it found by topic, without what is well; whether something is an error)."""
    found = json.loads(net.vpnrs_in(namespace, "doctor", "--json", *arguments, check=False))
    bad = {each["topic"]: each for each in found if each["level"] != "ok"}
    return bad, any(each["level"] == "error" for each in found)


def test_what_a_server_lacks_is_found_and_what_a_crash_left_is_mended(tunnel):
    net = tunnel(behind=True)
    config = str(net.server.config)
    ns = net.server_ns
    ns.run("sysctl", "-q", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=1")
    ns.run(
        "nft", "add table ip guardian; add chain ip guardian fw { type filter hook forward priority 0; policy drop; }"
    )
    net.server.configure({"session": {"routes": BEHIND_NETWORKS}})
    found, error = doctor(net, ns, config)
    assert not error
    assert found["forwarding"]["remedy"] == "nft insert rule ip guardian fw iifname vpnrs0 accept"
    text = net.vpnrs_in(ns, "doctor", config)
    assert "net.ipv4.ip_forward is off" in text
    assert "net.ipv6.conf.all.forwarding is on" in text

    net.server.configure({"forwarding": {"enable": True, "nat44": True}})
    net.start_server()
    assert "leftovers" not in doctor(net, ns, config)[0], "what runs is no leftover"
    net.server.kill(guard=True)
    found, error = doctor(net, ns, config)
    assert error
    assert found["leftovers"]["remedy"] == "vpnrs stop --instance server"
    for part in ("net.ipv4.ip_forward = 1 (was 0)", "nft table inet vpnrs_server"):
        assert part in found["leftovers"]["text"]
    elsewhere, error = doctor(net, net.client_ns[0])
    assert "in another network namespace" in elsewhere["leftovers"]["text"]
    found, error = doctor(net, ns, config, "--fix")
    assert not error
    assert "leftovers" not in found
    assert net.left_behind() == []
