"""The TUN pair in memory keeps the promises of the device."""

import asyncio
import errno
import os

import pytest

from vpnrs_core.errors import HostError
from vpnrs_core.interfaces import TunDevice
from vpnrs_core.testkit.tun import FakeTun

PACKET = b"\x45" + bytes(60)


@pytest.fixture
def pair():
    device, host = FakeTun.pair()
    with device, host:
        yield device, host


def test_what_one_end_writes_the_other_reads_in_order(pair):
    device, host = pair
    frames = [bytes(10) + PACKET + bytes([n]) for n in range(5)]
    assert host.write_batch(frames) == 5
    assert device.read_batch(100, 1 << 20) == frames
    assert device.send(PACKET) == 1
    assert host.receive() == [PACKET]


def test_a_super_packet_of_the_largest_size_fits(pair):
    device, host = pair
    frame = bytes(10) + b"\x45" + bytes(65_534)
    assert host.write_batch([frame]) == 1
    assert device.read_batch(1, 1 << 20) == [frame]


def test_a_batch_ends_at_either_limit(pair):
    device, host = pair
    host.write_batch([bytes(10) + PACKET] * 6)
    assert len(device.read_batch(2, 1 << 20)) == 2
    assert len(device.read_batch(100, 100)) == 2  # 71 bytes each: the second one goes over
    assert len(device.read_batch(100, 1 << 20)) == 2
    assert device.read_batch(100, 1 << 20) == []


def test_a_bad_frame_is_counted_and_stops_none_of_the_others(pair):
    device, host = pair
    assert device.write_batch([bytes(10) + PACKET, b"short", bytes(10) + bytes(60), bytes(10) + PACKET]) == 2
    assert device.write_failures == {errno.EINVAL: 2}
    assert len(host.receive()) == 2


def test_a_full_pair_refuses_and_blocks_nobody(pair):
    device, host = pair
    frames = [bytes(10) + b"\x45" + bytes(60_000)] * 300
    written = host.write_batch(frames)
    assert 0 < written < 300
    assert host.write_failures == {errno.EAGAIN: 300 - written}
    assert len(device.read_batch(1000, 1 << 30)) == written


async def test_the_loop_wakes_up_for_it(pair):
    device, host = pair
    woken = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(device, woken.set)
    try:
        host.send(PACKET)
        async with asyncio.timeout(5):
            await woken.wait()
    finally:
        loop.remove_reader(device)


def test_a_closed_end_is_a_removed_interface(pair):
    device, host = pair
    host.close()
    with pytest.raises(HostError, match="fake0 was removed"):
        device.read_batch(1, 1)
    with pytest.raises(HostError, match="fake0 was removed"):
        device.send(PACKET)
    device.close()
    device.close()
    assert device.fileno() == -1


def test_nothing_is_left_open():
    before = os.listdir("/proc/self/fd")
    for end in FakeTun.pair():
        end.close()
    assert os.listdir("/proc/self/fd") == before


def test_it_is_a_tun_device(pair):
    device: TunDevice = pair[0]
    assert device.name == "fake0"
