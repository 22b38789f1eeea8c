"""PrefixTable answers as a search through all networks would."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnrs_core.packet.prefix import PrefixTable

NETWORKS = st.one_of(
    st.builds(lambda n, bits: IPv4Network((n, bits), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda n, bits: IPv6Network((n, bits), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NETWORKS, st.integers(), max_size=8), st.data())
def test_the_longest_prefix_wins(networks: dict[IPv4Network | IPv6Network, int], data: st.DataObject) -> None:
    table: PrefixTable[int] = PrefixTable()
    for network, value in networks.items():
        table.add(network, value)
    for network in networks:
        address = network[data.draw(st.integers(0, network.num_addresses - 1))]
        best = max((n for n in networks if address in n), key=lambda n: n.prefixlen)
        assert table.get(address.packed, None) == networks[best]
    assert dict(table.items()) == networks
    assert len(table) == len(networks)
    for network, value in networks.items():
        assert table.remove(network) == value
    assert len(table) == 0


def test_default_for_what_is_outside() -> None:
    table: PrefixTable[str] = PrefixTable()
    table.add("10.0.0.0/8", "ten")
    assert table.get(ip_address("11.0.0.1").packed, "none") == "none"
    assert table.get(ip_address("a00::1").packed, "none") == "none"
    table.add("10.0.0.0/8", "again")
    assert table.get(ip_address("10.9.9.9").packed, "none") == "again"


def test_removing_what_is_not_there_is_an_error() -> None:
    table: PrefixTable[str] = PrefixTable()
    table.add("10.0.0.0/8", "ten")
    for network in ("10.0.0.0/9", "11.0.0.0/8", "10.0.0.1/32"):
        with pytest.raises(KeyError):
            table.remove(ip_network(network))
