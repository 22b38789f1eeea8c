"""The doctor's rules, each on the facts that call for it; tests/netns/test_doctor.py has real hosts."""

from ipaddress import ip_network

import pytest

from vpnrs_core.host import doctor
from vpnrs_core.host.facts import HostFacts
from vpnrs_core.host.leftovers import Leftover
from vpnrs_core.host.netlink import HostLink, HostRoute
from vpnrs_core.host.preflight import Plan
from vpnrs_core.interfaces.tun import OFFLOADS

FORWARDING = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "0"}


def link(name="eth0", mtu=1500, index=2):
    return HostLink(index, name, mtu, True, False)


def default(version=4, index=2):
    return HostRoute(ip_network("0.0.0.0/0" if version == 4 else "::/0"), index, "eth0", None, 3, 254, 0)


def found(facts, plan=None, *, topic):
    healthy = {"tun_offloads": OFFLOADS, "dns": "resolvconf"}
    everything = doctor.examine(HostFacts(**{**healthy, **facts}), plan or Plan())
    return [each for each in everything if each.topic == topic and each.level != "ok"]


@pytest.mark.parametrize(
    ("facts", "plan", "topic", "level", "says", "remedy"),
    [
        ({"sysctls": FORWARDING}, Plan(forwards_ipv6=True), "forwarding", "warning", "nothing behind it",
         "sysctl -w net.ipv6.conf.all.forwarding=1"),
        ({"sysctls": FORWARDING, "forward_drops": ["ip filter FORWARD"]}, Plan(forwards_ipv4=True), "forwarding",
         "warning", "'ip filter FORWARD' drops", "nft insert rule ip filter FORWARD iifname vpnrs0 accept"),
        ({"sysctls": {"net/ipv6/conf/all/disable_ipv6": "0", "net/ipv6/conf/default/disable_ipv6": "1"}},
         Plan(ipv6=True), "ipv6", "error", "IPv6 is off", "sysctl -w net.ipv6.conf.default.disable_ipv6=0"),
        ({"links": [link()], "sysctls": {"net/ipv4/conf/all/rp_filter": "1"}}, Plan(full_ipv4=True), "rp_filter",
         "warning", "strict on eth0", "sysctl -w net.ipv4.conf.all.rp_filter=2"),
        ({"links": [link(mtu=1300)], "routes": [default()]}, Plan(mtu=1280), "mtu", "warning", "has 1352",
         "set [tun] mtu to at most 1228, or: ip link set eth0 mtu 1352"),
        ({"tun_offloads": frozenset({"tcp4", "tcp6"})}, Plan(), "offloads", "warning", "no udp4, udp6", ""),
        ({"tun_offloads": None}, Plan(), "offloads", "warning", "can be opened", ""),
        ({"udp_gso": False}, Plan(), "offloads", "warning", "no UDP_SEGMENT", ""),
        ({"net_admin": False, "sysctls": {"net/core/rmem_max": "212992", "net/core/wmem_max": "8000000"}}, Plan(),
         "buffers", "warning", "rmem_max is 212992", "sysctl -w net.core.rmem_max=4194304"),
        ({"nft": False}, Plan(), "nftables", "warning", "kill_switch", "apt-get install nftables"),
        ({"dns": ""}, Plan(), "dns", "warning", "takes the DNS servers", "apt-get install systemd-resolved"),
        ({"leftovers": [Leftover("work", ("route 10.0.0.0/8 into vpnrs0",), False)]}, Plan(), "leftovers", "error",
         "instance work does not run, and has left: route 10", "vpnrs stop --instance work"),
        ({"leftovers": [Leftover("work", ("route 10.0.0.0/8 into vpnrs0",), True)]}, Plan(), "leftovers", "warning",
         "in another network namespace", "vpnrs stop --instance work, in there"),
    ],
)  # fmt: skip
def test_what_is_lacking_is_said_with_what_mends_it(facts, plan, topic, level, says, remedy):
    (only,) = found(facts, plan, topic=topic)
    assert only.level == level
    assert says in only.text
    assert only.remedy == remedy


@pytest.mark.parametrize(
    ("facts", "plan", "topic"),
    [
        ({"sysctls": FORWARDING}, Plan(forwards_ipv4=True), "forwarding"),
        ({"sysctls": {}}, Plan(forwards_ipv4=True, sets_forwarding=True), "forwarding"),
        ({"sysctls": FORWARDING, "forward_drops": ["ip filter FORWARD"]}, Plan(), "forwarding"),
        ({"sysctls": {"net/ipv6/conf/all/disable_ipv6": "1"}}, Plan(), "ipv6"),
        ({"links": [link()], "sysctls": {"net/ipv4/conf/eth0/rp_filter": "1"}}, Plan(), "rp_filter"),
        ({"links": [link()], "sysctls": {"net/ipv4/conf/all/rp_filter": "2", "net/ipv4/conf/eth0/rp_filter": "1"}},
         Plan(full_ipv4=True), "rp_filter"),
        ({"links": [link(mtu=1352)], "routes": [default()]}, Plan(mtu=1280), "mtu"),
        ({"links": [link(mtu=1300)], "routes": []}, Plan(mtu=1280), "mtu"),
        ({}, Plan(), "offloads"),
        ({"net_admin": True, "sysctls": {"net/core/rmem_max": "1"}}, Plan(), "buffers"),
        ({}, Plan(), "leftovers"),
    ],
)  # fmt: skip
def test_what_does_no_harm_is_not_complained_about(facts, plan, topic):
    assert found(facts, plan, topic=topic) == []


def test_the_starts_own_refusals_are_errors(monkeypatch):
    monkeypatch.setattr("vpnrs_core.host.preflight.nft.available", lambda: False)
    errors = found({"nft": False}, Plan(needs_nft="kill_switch"), topic="privileges")
    assert [each.level for each in errors] == ["error"]
    assert "kill_switch needs nftables" in errors[0].text


def test_only_what_loses_nothing_mends_itself():
    facts = HostFacts(net_admin=False, links=[link(mtu=1000)], routes=[default()], dns="", leftovers=[
        Leftover("mine", ("a route",), False), Leftover("theirs", ("a route",), True)])  # fmt: skip
    plan = Plan(forwards_ipv4=True, forwards_ipv6=True, ipv6=True, full_ipv4=True, mtu=1280)
    mending = [each for each in doctor.examine(facts, plan) if each.mend is not None]
    assert [each.topic for each in mending] in (["leftovers"], ["privileges", "leftovers"])
    assert "mine" in mending[-1].text
