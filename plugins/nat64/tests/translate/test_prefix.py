"""Addresses in prefixes: the vectors of RFC 6052, what is ignored, what is never translated."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpnrs_nat64.translate.eam import Eamt
from vpnrs_nat64.translate.prefix import Prefix, valid_source_v4, valid_source_v6

VECTORS = [
    ("2001:db8::/32", "2001:db8:c000:221::"),
    ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
    ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
    ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
    ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
    ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
]
LENGTHS = st.sampled_from((32, 40, 48, 56, 64, 96))


def four(text: str) -> bytes:
    return IPv4Address(text).packed


def six(text: str) -> bytes:
    return IPv6Address(text).packed


@pytest.mark.parametrize(("network", "address"), VECTORS)
def test_a3_vectors_of_rfc_6052(network: str, address: str) -> None:
    prefix = Prefix(IPv6Network(network))
    assert prefix.embed(four("192.0.2.33")) == six(address)
    assert prefix.extract(six(address)) == four("192.0.2.33")


@pytest.mark.parametrize("length", [0, 31, 33, 95, 97, 128])
def test_a1_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32, 40, 48, 56, 64 or 96"):
        Prefix(IPv6Network((0, length)))


def test_a1_u_bits_of_a_96_must_be_zero() -> None:
    with pytest.raises(ValueError, match="bits 64 to 71"):
        Prefix(IPv6Network("2001:db8:0:0:100::/96"))
    Prefix(IPv6Network("2001:db8:0:0:ff::/96"))


@given(
    LENGTHS, st.binary(min_size=16, max_size=16), st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)
)
def test_a2_suffix_and_u_bits_are_zero_when_made_and_ignored_when_read(
    length: int, number: bytes, v4: bytes, noise: bytes
) -> None:
    head = bytearray(number)
    head[8] = 0
    prefix = Prefix(IPv6Network((bytes(head), length), strict=False))
    address = prefix.embed(v4)
    assert address[8] == 0
    assert prefix.extract(address) == v4
    used = set(range(length // 8)) | {
        at for at in range(16) if prefix.embed(b"\xff" * 4)[at] != prefix.embed(bytes(4))[at]
    }
    assert len(used) == length // 8 + 4
    noisy = bytes(address[at] if at in used else noise[at] for at in range(16))
    assert prefix.extract(noisy) == v4
    assert all(address[at] == 0 for at in range(16) if at not in used)


def test_a4_well_known_prefix_stands_only_for_global_addresses() -> None:
    known = Prefix(IPv6Network("64:ff9b::/96"))
    assert known.is_well_known
    for private in ("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "192.0.0.170", "192.0.2.1", "198.18.0.1"):
        assert not known.allows(four(private), allow_private=False)
        assert known.allows(four(private), allow_private=True)
    assert known.allows(four("8.8.8.8"), allow_private=False)
    for never in ("0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"):
        assert not known.allows(four(never), allow_private=True)


def test_a5_local_use_prefix_is_another_one() -> None:
    local = Prefix(IPv6Network("64:ff9b:1::/48"))
    assert not local.is_well_known
    assert local.allows(four("10.0.0.1"), allow_private=False)
    assert not local.allows(four("127.0.0.1"), allow_private=False)
    assert Prefix(IPv6Network("64:ff9b::/96")).extract(local.embed(four("8.8.8.8"))) is None
    neutral = Prefix(IPv6Network("64:ff9b:1:fffe::/96"))
    assert int.from_bytes(neutral.embed(bytes(4)), "big") % 65535 == 0


def test_a6_sources_that_are_not_translated() -> None:
    prefix = Prefix(IPv6Network("64:ff9b::/96"))
    for bad in ("::", "::1", "ff02::1", "fe80::1", "64:ff9b::8.8.8.8"):
        assert not valid_source_v6(six(bad), prefix)
    assert valid_source_v6(six("fd00::2"), prefix)
    for bad in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.1.1.1"):
        assert not valid_source_v4(four(bad))
    assert valid_source_v4(four("10.1.1.1"))


def test_explicit_mappings_take_the_longest_prefix() -> None:
    table = Eamt(Prefix(IPv6Network("64:ff9b::/96")))
    table.add(IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8:aa::/64"))
    table.add(IPv4Network("192.0.2.1/32"), IPv6Network("2001:db8:bb::7/128"))
    assert table.to_v6(four("192.0.2.1")) == six("2001:db8:bb::7")
    assert table.to_v6(four("192.0.2.9")) == six("2001:db8:aa:0:900::")
    assert table.to_v4(six("2001:db8:aa:0:900::dead")) == four("192.0.2.9")
    assert table.to_v4(six("2001:db8:bb::7")) == four("192.0.2.1")
    assert table.to_v6(four("8.8.8.8")) == six("64:ff9b::8.8.8.8")
    assert table.to_v4(six("2001:db8:cc::1")) is None
    assert Eamt().to_v6(four("8.8.8.8")) is None
    with pytest.raises(ValueError, match="fewer bits"):
        table.add(IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8::/124"))
