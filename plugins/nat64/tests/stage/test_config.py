"""The table, checked by itself and against the server's configuration: refusals say what, where and what to do."""

from ipaddress import IPv4Address, IPv6Network, ip_network

import pydantic
import pytest
from nat64_bench import Ctx
from vpnrs_nat64.check import check, is_local, source_addresses
from vpnrs_nat64.config import Nat64Config
from vpnrs_nat64.plugin import Plugin

from vpnrs_core.config.models import ClientConfig, ServerConfig


def server(ipv4="10.77.0.0/24", ipv6="fd77::/64", session=None, **addresses):
    return ServerConfig(addresses={"ipv4": ipv4, "ipv6": ipv6, **addresses}, session=session or {"dns": ["10.77.0.1"]})


def findings(configuration=None, local=(), **table):
    found = check(Nat64Config(**table), configuration or server(), lambda address: str(address) in local)
    return {level: [f.text for f in found if f.level == level] for level in ("error", "warning")}


def wrong(**table):
    with pytest.raises(pydantic.ValidationError) as caught:
        Nat64Config(**table)
    return str(caught.value)


def test_the_defaults_are_right():
    assert findings() == {"error": [], "warning": []}
    config = Nat64Config()
    assert config.prefix == IPv6Network("64:ff9b::/96")
    assert (config.udp_timeout, config.tcp_established_timeout, config.icmp_timeout) == (300, 7200, 60)


@pytest.mark.parametrize("length", [0, 8, 33, 95, 97, 128])
def test_a1_other_prefix_lengths_are_refused(length):
    assert "is no translation prefix; its length must be" in wrong(prefix=f"{ip_network(f'::/{length}')}")


def test_a1_bits_64_to_71_must_be_zero():
    assert "bits 64 to 71" in wrong(prefix="2001:db8:0:0:ff00::/96")
    assert "is not an IPv6 prefix" in wrong(prefix="10.0.0.0/8")


@pytest.mark.parametrize("prefix", ["::/96", "::ffff:0:0/96", "fe80::/64", "ff0e::/96", "::/32"])
def test_a1_prefixes_that_are_no_unicast_ones_are_refused(prefix):
    assert f"{prefix} overlaps " in wrong(prefix=prefix)


@pytest.mark.parametrize("to", ["fd00::5", "[fd00::5]", "10.0.0.1:80", "[fd00::5]:99999"])
def test_a_static_binding_that_leads_nowhere_is_refused_with_an_example(to):
    table = {"protocol": "tcp", "port": 80, "to": to}
    assert "is not an IPv6 address and port; write for example [fd77::5]:80" in wrong(static=[table])


def test_a5_the_local_use_prefix_is_taken_whole_and_in_part():
    for prefix in ("64:ff9b:1::/48", "64:ff9b:1::/96", "64:ff9b:1:fffe::/96"):
        assert findings(prefix=prefix)["error"] == []


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("0.0.0.0", "own network"), ("127.0.0.1", "loopback"), ("169.254.1.1", "link-local"),
        ("224.0.0.5", "multicast"), ("240.1.1.1", "reserved"), ("255.255.255.255", "reserved"),
        ("fd77::1", "not an IPv4 address"), ("ten", "not an IPv4 address"),
    ],
)  # fmt: skip
def test_addresses_that_no_host_has_are_refused(address, word):
    assert word in wrong(source_ip=address)


def test_the_default_source_is_the_last_free_address_of_the_pool():
    assert source_addresses(Nat64Config(), server()) == (IPv4Address("10.77.0.254"),)
    taken = server(reserve=["10.77.0.254"], static={"alice": ["10.77.0.253"]})
    assert source_addresses(Nat64Config(), taken) == (IPv4Address("10.77.0.252"),)


def test_the_servers_own_address_is_refused_in_these_words():
    (error,) = findings(source_ip="10.77.0.1")["error"]
    assert error == (
        "configuration: [plugins.nat64] source_ip 10.77.0.1 is this server's own address; replies would never reach "
        "the translator. Choose a free address of 10.77.0.0/24, or remove the line to have one reserved."
    )


def test_an_address_of_the_host_is_refused():
    (error,) = findings(source_ip="192.0.2.5", local=["192.0.2.5"])["error"]
    assert "is an address of this host" in error
    assert is_local(IPv4Address("127.0.0.1"))
    assert not is_local(IPv4Address("192.0.2.5"))


def test_other_addresses_that_are_taken_are_refused():
    kept = server(static={"alice": ["10.77.0.9"]})
    assert "is kept for alice" in findings(kept, source_ip="10.77.0.9")["error"][0]
    for edge in ("10.77.0.0", "10.77.0.255"):
        assert "network or broadcast" in findings(source_ip=edge)["error"][0]
    assert "names 10.1.1.1 twice" in findings(source_ip=["10.1.1.1", "10.1.1.1"])["error"][0]


def test_ipv6_only_servers_need_a_source_of_their_own():
    only6 = server(ipv4=None)
    assert "there is no IPv4 pool to reserve one from" in findings(only6)["error"][0]
    assert findings(only6, source_ip="192.0.2.5")["error"] == []
    assert "needs clients with IPv6 addresses" in findings(server(ipv6=None))["error"][0]


def test_a_prefix_inside_the_pool_is_refused():
    (error,) = findings(prefix="fd77::/96")["error"]
    assert "prefix fd77::/96 overlaps the pool fd77::/64" in error


def test_ranges_and_times_are_checked():
    assert "begins above its end; write [40000, 50000]" in wrong(port_range=[50000, 40000])
    for bad in ([0, 5], [1, 70000], [1]):
        wrong(port_range=bad)
    for key in ("udp_timeout", "tcp_established_timeout", "icmp_timeout", "tcp_syn_timeout"):
        wrong(**{key: 0})
        (warning,) = findings(**{key: 1})["warning"]
        assert f"[plugins.nat64] {key} 1 is below the" in warning
    wrong(fragment_timeout=1.9)
    assert "unknown" in wrong(nonsense=1) or "not permitted" in wrong(nonsense=1)


def test_what_clients_need_beside_it_is_a_warning():
    (warning,) = findings(push_route=False)["warning"]
    assert "64:ff9b::/96 is not in [session] routes" in warning
    quiet = server(session={"dns": ["10.77.0.1"], "routes": ["64:ff9b::/96"]})
    assert findings(quiet, push_route=False)["warning"] == []
    static = [{"protocol": "tcp", "port": 80, "to": "[fd77::5]:80"}]
    (warning,) = findings(masquerade=True, static=static)["warning"]
    assert "masquerade hides source_ip" in warning
    (warning,) = findings(server(session={"routes": []}))["warning"]
    assert "no DNS server is pushed" in warning


def test_static_bindings_are_checked():
    one = {"protocol": "tcp", "port": 80, "to": "[fd77::5]:80"}
    assert findings(static=[one, {**one, "protocol": "udp"}])["error"] == []
    assert "tcp port 80 is bound twice" in findings(static=[one, {**one, "to": "[fd77::6]:80"}])["error"][0]
    assert "has another port already" in findings(static=[one, {**one, "port": 81}])["error"][0]
    assert "outside the pool" in findings(static=[{**one, "to": "[fd00::5]:80"}])["error"][0]
    assert "is not one of source_ip" in findings(static=[{**one, "source_ip": "10.9.9.9"}])["error"][0]
    for to in ("fd77::5", "10.0.0.1:80", "[fd77::5]:0", "[fd77::5]:99999"):
        wrong(static=[{**one, "to": to}])


def test_the_hosts_part_is_declared():
    plugin = Plugin(Nat64Config(), Ctx())
    plugin.vpnrs_check(server())
    needs = plugin.vpnrs_declare_host_needs()
    assert needs.to_tun == [ip_network("10.77.0.254/32")]
    assert needs.reserve == [IPv4Address("10.77.0.254")]
    assert needs.forwarding
    assert not needs.masquerade
    outside = Plugin(Nat64Config(source_ip="192.0.2.5", masquerade=True), Ctx())
    outside.vpnrs_check(server())
    assert outside.vpnrs_declare_host_needs().masquerade == [ip_network("192.0.2.5/32")]
    assert outside.vpnrs_declare_host_needs().reserve == []
    listed = Plugin(Nat64Config(source_ip="10.77.0.9"), Ctx())
    listed.vpnrs_check(server(reserve=["10.77.0.9"]))
    assert listed.vpnrs_declare_host_needs().reserve == []


async def test_clients_are_told_the_prefix():
    (grant,) = Plugin(Nat64Config(), Ctx()).vpnrs_register_grant_contributors()
    given = await grant.contribute(None, None)
    assert given.routes == (IPv6Network("64:ff9b::/96"),)
    assert given.facts == {"public": {"prefix": "64:ff9b::/96"}}
    (silent,) = Plugin(Nat64Config(push_route=False), Ctx()).vpnrs_register_grant_contributors()
    assert (await silent.contribute(None, None)).routes == ()


def test_at_a_client_there_is_nothing_to_do():
    plugin = Plugin(Nat64Config(), Ctx(role="client"))
    assert plugin.vpnrs_check(ClientConfig.model_construct()) == []
    assert plugin.vpnrs_declare_host_needs() is None
    for hook in ("packet_stages", "grant_contributors", "control"):
        assert getattr(plugin, f"vpnrs_register_{hook}")() == []
