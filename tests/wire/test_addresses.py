"""The address capsules of RFC 9484 §4.7: layout, the rules for ranges, and networks there and back."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.errors import PeerError
from vpnrs_core.interfaces.common import Network
from vpnrs_core.wire.addresses import (
    AddressAssign,
    AddressRange,
    PrefixEntry,
    decode_address_assign,
    decode_address_request,
    decode_route_advertisement,
    encode_prefixes,
    encode_routes,
    to_networks,
    to_ranges,
)

addresses = st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address)
networks = st.tuples(addresses, st.integers(0, 128)).map(
    lambda pair: ip_network((pair[0], min(pair[1], pair[0].max_prefixlen)), strict=False)
)
V4, V6 = IPv4Network("10.77.0.2/32"), IPv6Network("fd77::2/128")


def test_the_layout_is_the_rfcs() -> None:
    assert encode_prefixes([PrefixEntry(0, V4)]).hex() == "00" + "04" + "0a4d0002" + "20"
    assert encode_routes([AddressRange(IPv4Address("10.0.0.0"), IPv4Address("10.255.255.255"))]).hex() == (
        "04" + "0a000000" + "0affffff" + "00"
    )


@given(st.lists(st.tuples(st.integers(1, 2**62 - 1), networks), max_size=10, unique_by=lambda e: e[0]))
def test_prefixes_survive_the_wire(entries: list[tuple[int, Network]]) -> None:
    sent = tuple(PrefixEntry(*e) for e in entries)
    assert decode_address_assign(encode_prefixes(sent)).entries == sent
    if sent:
        assert decode_address_request(encode_prefixes(sent)).entries == sent


@given(st.lists(networks, max_size=12))
def test_networks_become_ranges_in_order_and_cover_the_same(given_networks: list[Network]) -> None:
    ranges = to_ranges(given_networks)
    assert decode_route_advertisement(encode_routes(ranges)).ranges == ranges
    back = to_networks(ranges)
    assert to_ranges(back) == ranges
    for network in given_networks:
        assert any(network.version == b.version and network.subnet_of(b) for b in back)  # type: ignore[arg-type]


@given(st.binary(max_size=120))
def test_no_bytes_raise_anything_but_a_peer_error(value: bytes) -> None:
    for decode in (decode_address_assign, decode_address_request, decode_route_advertisement):
        try:
            decode(value)
        except PeerError:
            continue


def test_neighbouring_networks_join_into_one_range() -> None:
    joined = to_ranges([IPv4Network("10.0.1.0/24"), IPv4Network("10.0.2.0/23"), IPv4Network("10.0.1.128/25")])
    assert joined == (AddressRange(IPv4Address("10.0.1.0"), IPv4Address("10.0.3.255")),)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("05" + "0a000000" + "0a0000ff" + "00", "no IP version"),
        ("04" + "0a000000" + "0a0000", "truncated"),
        ("04" + "0a0000ff" + "0a000000" + "00", "ends before it starts"),
        ("040a0000000a0000ff00" "040a0000ff0a0001ff00", "overlaps"),
        ("040a0001000a0001ff00" "040a0000000a0000ff00", "out of order"),
        ("040a0000000a0000ff06" "040a0001000a0001ff00", "out of order"),
        ("06" + "00" * 16 + "ff" * 16 + "00" + "040a0000000a0000ff00", "out of order"),
    ],
)  # fmt: skip
def test_ranges_that_break_the_rules_are_refused(value: str, why: str) -> None:
    with pytest.raises(PeerError, match=why):
        decode_route_advertisement(bytes.fromhex(value))


def test_equal_ranges_for_different_protocols_ascend() -> None:
    ranges = decode_route_advertisement(bytes.fromhex("040a0000000a0000ff00040a0000000a0000ff06")).ranges
    assert [r.protocol for r in ranges] == [0, 6]
    assert to_networks(ranges) == (IPv4Network("10.0.0.0/24"),)


@pytest.mark.parametrize("value", ["", "00040a4d000220", "01040a4d00022001040a4d000320"])
def test_requests_need_ids_of_their_own(value: str) -> None:
    with pytest.raises(PeerError, match="id of its own"):
        decode_address_request(bytes.fromhex(value))


@pytest.mark.parametrize("value", ["00040a4d000221", "00040a4d000218", "00040a4d00"])
def test_host_bits_and_wrong_lengths_are_refused(value: str) -> None:
    with pytest.raises(PeerError, match="ADDRESS_ASSIGN"):
        decode_address_assign(bytes.fromhex(value))


def test_declined_requests_are_no_addresses() -> None:
    assign = AddressAssign((PrefixEntry(0, V4), PrefixEntry(3, IPv6Network("::/128")), PrefixEntry(0, V6)))
    assert assign.addresses == (IPv4Address("10.77.0.2"), IPv6Address("fd77::2"))


def test_a_peer_cannot_make_us_install_endless_routes() -> None:
    step = 1 << 120
    nearly_all = [AddressRange(IPv6Address(i * step + 1), IPv6Address((i + 1) * step - 2)) for i in range(20)]
    with pytest.raises(PeerError, match="more than 1024"):
        to_networks(nearly_all)
