"""Checksums as scapy computes them, and updates that equal a new computation."""

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.utils import checksum as scapy_checksum

from vpnrs_core.packet.checksum import checksum, finish, ones_sum, ones_sums, pseudo_sum, update, verifies


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=1, max_size=1500))
def test_checksum_equals_scapys(data: bytes) -> None:
    data = b"\x45" + data  # never all zero, like every packet
    assert checksum(data) == scapy_checksum(data)
    assert verifies(data + b"\0" * (len(data) & 1) + checksum(data).to_bytes(2, "big"))
    assert ones_sum(data) == finish_back(checksum(data))


def finish_back(check: int) -> int:
    return (0xFFFF - check) % 65535


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**31))
def test_sums_in_bulk_equal_single_ones(size: int, seed: int) -> None:
    # Bytes near the carry boundaries: folding must not lose one.
    parts = [bytes([255]) * size, bytes(size), (seed.to_bytes(4, "big") * size)[:size]]
    plain = [(int.from_bytes(p + b"\0" * (size & 1), "big")) % 65535 for p in parts]
    assert ones_sums(parts) == plain
    assert [ones_sum(part) for part in parts] == plain


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=20, max_size=20), st.integers(0, 9), st.integers(0, 0xFFFF))
def test_update_equals_computing_anew(data: bytes, word: int, value: int) -> None:
    data = b"\x45" + data[1:]
    if word == 0:
        value |= 0x4000
    was, becomes = data[2 * word : 2 * word + 2], value.to_bytes(2, "big")
    new = data[: 2 * word] + becomes + data[2 * word + 2 :]
    assert update(checksum(data), ones_sum(was), ones_sum(becomes)) == checksum(new)


def test_pseudo_header_sum() -> None:
    source, destination = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    assert pseudo_sum(source, destination, 6, 300) == ones_sum(
        source + destination + b"\0\6" + (300).to_bytes(2, "big")
    )
    assert finish(0) == 0
    assert finish(1) == 0xFFFE
    assert finish(65535) == 0
