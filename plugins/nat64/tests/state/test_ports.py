"""S2: ports are preserved where possible, else of the same class and parity and at random; none is given twice."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vpnrs_nat64.state.ports import Ports


def fixed(number):
    return lambda n: (number % 256**n).to_bytes(n, "big")


def test_s2_a_free_port_in_range_is_preserved():
    ports = Ports(32768, 65535)
    assert ports.take(40000, True, fixed(7)) == 40000
    assert ports.take(32768, True, fixed(7)) == 32768
    assert ports.take(65535, True, fixed(7)) == 65535


@given(st.integers(0, 65535), st.integers(0, 65535))
@settings(max_examples=200)
def test_s2_another_port_has_the_parity_of_the_wanted_one(wanted, start):
    ports = Ports(32768, 65535)
    ports.take(wanted, True, fixed(start))
    got = ports.take(wanted, True, fixed(start))
    assert 32768 <= got <= 65535
    assert got % 2 == wanted % 2
    assert got != wanted


def test_s2_the_well_known_class_is_kept_when_the_range_has_both():
    ports = Ports(1000, 2000)
    ports.claim(1010)
    assert 1000 <= ports.take(1010, False, fixed(999)) < 1024
    ports.claim(1500)
    assert 1024 <= ports.take(1500, False, fixed(3)) <= 2000


def test_s2_where_class_or_parity_is_used_up_the_rest_serves():
    ports = Ports(1020, 1027)
    given_out = [ports.take(80, True, fixed(n * 17)) for n in range(8)]
    assert sorted(given_out) == list(range(1020, 1028))
    assert [port % 2 for port in given_out[:2]] == [0, 0]
    assert all(port < 1024 for port in given_out[:4])
    assert ports.take(80, True, fixed(5)) is None
    assert ports.used == 8


@given(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 2**16 - 1), st.booleans())
@settings(max_examples=200)
def test_s2_every_port_of_a_range_is_found_and_none_outside_it(a, b, start, parity):
    low, high = min(a, b), min(max(a, b), min(a, b) + 40)
    ports = Ports(low, high)
    taken = [ports.take(start, parity, fixed(start + n * 7919)) for n in range(high - low + 1)]
    assert sorted(taken) == list(range(low, high + 1))
    assert ports.take(start, parity, fixed(start)) is None


def test_a_released_port_is_free_again_and_only_once():
    ports = Ports(5, 5)
    assert ports.take(9, False, fixed(0)) == 5
    ports.release(5)
    assert ports.take(9, False, fixed(0)) == 5
    ports.release(5)
    with pytest.raises(ValueError, match="not taken"):
        ports.release(5)


def test_a_range_that_is_none_is_refused():
    for low, high in ((2, 1), (-1, 5), (5, 65536)):
        with pytest.raises(ValueError, match="no range"):
            Ports(low, high)


def test_ports_are_spread_over_the_range():
    ports = Ports(32768, 65535)
    starts = iter(range(0, 65536, 64))
    got = [ports.take(1024, False, lambda n: next(starts).to_bytes(n, "big")) for _ in range(1000)]
    assert min(got) < 34000
    assert max(got) > 64000
