"""Numbers as people read them."""

import pytest

from vpnrs_core.cli.words import duration, rate, size, sparkline


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (size(0), "0 B"),
        (size(1536), "1.5 KiB"),
        (size(5 << 40), "5.0 TiB"),
        (rate(0), "0 bit/s"),
        (rate(125_000), "1.0 Mbit/s"),
        (rate(1.25e9), "10.0 Gbit/s"),
        (duration(59.9), "59 s"),
        (duration(3700), "1 h 1 min"),
        (duration(90_000), "1 d 1 h"),
    ],
)
def test_numbers(said, meant):
    assert said == meant


def test_a_sparkline_shows_the_shape_of_the_last_values():
    assert sparkline([9, 9, 0, 4, 8], most=3) == "▁▅█"
    assert sparkline([]) == sparkline([0, 0]) == ""
