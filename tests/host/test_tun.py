"""The real device in a namespace: frames with their vnet headers, with offloads and without.

sender ── kernel ── TUN left ══ this test ══ TUN right ── kernel ── receiver
"""

import contextlib
import errno
import fcntl
import os
import select
import socket
import subprocess
import sys
import time
from ipaddress import ip_address

import pytest

from vpnrs_core.errors import HostError
from vpnrs_core.host import tun as subject
from vpnrs_core.host.netlink import Netlink
from vpnrs_core.host.setup import HostSetup
from vpnrs_core.host.tun import Tun
from vpnrs_core.interfaces.tun import OFFLOADS

pytestmark = pytest.mark.netns

UDP_SEGMENT = 103
TUNGETVNETLE = 0x800454DD
MTU = 1280
GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 = 0, 1, 4, 5


class Journalless:
    """The device dies with the test: nothing to remember."""

    def intend(self, change):
        return 0

    def done(self, number):
        pass


class End:
    """A namespace with a configured TUN."""

    def __init__(self, namespace, tun):
        self.namespace, self.tun = namespace, tun

    def socket(self, family, kind):
        with self.namespace.entered():
            return socket.socket(family, kind)


@contextlib.asynccontextmanager
async def two_ends(netns, **options):
    async with contextlib.AsyncExitStack() as stack:
        ends = []
        for number, label in enumerate(("left", "right"), 1):
            namespace = netns.namespace(label)
            with namespace.entered():
                tun = Tun.open(**options)
                stack.callback(tun.close)
                netlink = await stack.enter_async_context(await Netlink.open())
                setup = HostSetup(netlink, Journalless(), "test")
                addresses = [(ip_address(f"10.77.0.{number}"), 24), (ip_address(f"fd77::{number}"), 64)]
                await setup.configure_tun(tun, addresses, MTU)
            ends.append(End(namespace, tun))
        yield ends


def pump(left, right, until, seconds=10.0):
    """Carry frames both ways until `until()` → those that went to the right."""
    seen = []
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, f"nothing more after {len(seen)} frames"
        select.select([left.tun, right.tun], [], [], 0.01)
        frames = left.tun.read_batch(64, 1 << 20)
        seen += frames
        assert right.tun.write_batch(frames) == len(frames)
        back = right.tun.read_batch(64, 1 << 20)
        assert left.tun.write_batch(back) == len(back)
    return seen


def gso_types(frames):
    return {frame[1] & 0x7F for frame in frames}


HOSTS = {socket.AF_INET: ("10.77.0.1", "10.77.0.2"), socket.AF_INET6: ("fd77::1", "fd77::2")}


def transfer_tcp(left, right, family, data):
    """One TCP stream to the right, no threads → (what arrived, frames)."""
    got = bytearray()
    with left.socket(family, socket.SOCK_STREAM) as client, right.socket(family, socket.SOCK_STREAM) as server:
        server.bind((HOSTS[family][1], 5000))
        server.listen()
        for end in (client, server):
            end.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect((HOSTS[family][1], 5000))
        accepted, rest = [], memoryview(data)

        def step():
            nonlocal rest
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                if not accepted:
                    accepted.append(server.accept()[0])
                    accepted[0].setblocking(False)
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                rest = rest[client.send(rest[: 1 << 17]) :] if rest else rest
            with contextlib.suppress(BlockingIOError):
                if accepted:
                    got.extend(accepted[0].recv(1 << 20))
            return len(got) == len(data)

        frames = pump(left, right, step)
        for end in accepted:
            end.close()
    return bytes(got), frames


@pytest.mark.parametrize(
    ("family", "gso"), [(socket.AF_INET, GSO_TCPV4), (socket.AF_INET6, GSO_TCPV6)], ids=["IPv4", "IPv6"]
)
async def test_tcp_super_packets_arrive(netns, family, gso):
    data = os.urandom(1 << 20)
    async with two_ends(netns) as (left, right):
        assert left.tun.offloads == OFFLOADS
        got, frames = transfer_tcp(left, right, family, data)
    assert got == data
    assert gso in gso_types(frames)
    assert 20_000 < max(map(len, frames)) <= 65_536 + 10


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
async def test_without_offloads_the_same_bytes_arrive_in_single_packets(netns, family):
    data = os.urandom(1 << 18)
    async with two_ends(netns, offload=False) as (left, right):
        assert left.tun.offloads == frozenset()
        got, frames = transfer_tcp(left, right, family, data)
    assert got == data
    assert {frame[:10] for frame in frames} == {bytes(10)}
    assert max(map(len, frames)) <= MTU + 10


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
async def test_udp_super_packets_arrive_as_their_datagrams(netns, family):
    datagrams = [bytes([n]) * 1000 for n in range(30)] + [b"tail"]
    async with two_ends(netns) as (left, right):
        with left.socket(family, socket.SOCK_DGRAM) as client, right.socket(family, socket.SOCK_DGRAM) as server:
            server.bind((HOSTS[family][1], 5000))
            server.setblocking(False)
            control = [(socket.SOL_UDP, UDP_SEGMENT, (1000).to_bytes(2, "little"))]
            client.sendmsg([b"".join(datagrams)], control, 0, (HOSTS[family][1], 5000))
            got = []

            def step():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        got.append(server.recv(2000))
                return len(got) == len(datagrams)

            frames = pump(left, right, step)
    assert got == datagrams
    assert gso_types(frames) == {GSO_UDP_L4}
    assert len(frames) == 1


async def test_a_kernel_without_uso_still_does_tcp(netns, monkeypatch):
    real = fcntl.ioctl

    def old_kernel(fd, request, argument):
        if request == subject._TUNSETOFFLOAD and argument & 0x60:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, request, argument)

    monkeypatch.setattr(subject.fcntl, "ioctl", old_kernel)
    data = os.urandom(1 << 19)
    async with two_ends(netns) as (left, right):
        assert left.tun.offloads == {"tcp4", "tcp6"}
        got, frames = transfer_tcp(left, right, socket.AF_INET, data)
    assert got == data
    assert GSO_TCPV4 in gso_types(frames)


@pytest.mark.parametrize("limit", [frozenset(), frozenset({"tcp4", "tcp6"}), OFFLOADS], ids=sorted)
def test_a_limit_is_kept(netns, limit):
    with netns.namespace("here").entered():
        tun = Tun.open(limit=limit)
    assert tun.offloads == limit
    tun.close()


async def test_a_quiet_device_stays_quiet(netns):
    """No router solicitation, no multicast listener report: what is read is somebody's traffic."""
    async with two_ends(netns) as (left, _):
        assert select.select([left.tun], [], [], 1.5)[0] == []


async def test_a_refused_frame_stops_none_of_the_others(netns):
    async with two_ends(netns) as (left, right):
        with left.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", ("10.77.0.2", 9))
            [frame] = left.tun.read_batch(10, 1 << 20)
        bad_gso = bytes([0, GSO_TCPV4]) + frame[2:]
        assert right.tun.write_batch([frame, b"short", bad_gso, frame]) == 2
        assert sum(right.tun.write_failures.values()) == 2
        assert set(right.tun.write_failures) <= {errno.EINVAL, errno.EIO}


async def test_a_batch_ends_at_either_limit(netns):
    async with two_ends(netns) as (left, _):
        with left.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for _ in range(6):
                client.sendto(bytes(100), ("10.77.0.2", 9))
        assert len(left.tun.read_batch(2, 1 << 20)) == 2
        assert len(left.tun.read_batch(100, 150)) == 2
        assert len(left.tun.read_batch(100, 1 << 20)) == 2
        assert left.tun.read_batch(100, 1 << 20) == []


async def test_a_removed_device_is_a_host_error(netns):
    async with two_ends(netns) as (left, _):
        left.namespace.run("ip", "link", "delete", left.tun.name)
        with pytest.raises(HostError, match="vpnrs0 was removed while in use"):
            left.tun.read_batch(1, 1)
        with pytest.raises(HostError, match="vpnrs0 was removed while in use"):
            left.tun.write_batch([bytes(64)])


def test_names_templates_and_taken_names(netns):
    with netns.namespace("here").entered():
        tuns = [Tun.open(), Tun.open(), Tun.open("mine")]
        assert [tun.name for tun in tuns] == ["vpnrs0", "vpnrs1", "mine"]
        with pytest.raises(HostError, match="mine is taken: choose another"):
            Tun.open("mine")
        for tun in tuns:
            tun.close()
            tun.close()
        Tun.open("mine").close()


def test_vnet_headers_are_little_endian_by_choice(netns):
    asked = bytearray(4)
    with netns.namespace("here").entered(), contextlib.closing(Tun.open()) as tun:
        fcntl.ioctl(tun.fileno(), TUNGETVNETLE, asked)
    assert int.from_bytes(asked, sys.byteorder) == 1


@pytest.mark.parametrize("name", ["", "x" * 16, "a b", "a/b", "..", "%d%d", "a:b"])
def test_names_that_no_interface_can_have(name):
    with pytest.raises(HostError, match="interface name"):
        Tun.open(name)


def test_a_persistent_device_of_somebody_is_not_taken_over(netns):
    here = netns.namespace("here")
    here.run("ip", "tuntap", "add", "dev", "theirs", "mode", "tun")
    with here.entered(), pytest.raises(HostError, match="theirs is taken"):
        Tun.open("theirs")


def test_a_missing_driver_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(subject, "DEVICE", str(tmp_path / "tun"))
    with pytest.raises(HostError, match="does not exist: load the driver with 'modprobe tun'"):
        Tun.open()


def test_without_the_capability_it_says_which(netns):
    here = netns.namespace("here")
    program = "from vpnrs_core.host.tun import Tun; Tun.open()"
    python = os.path.realpath(sys.executable)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        here.command("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", python, "-c", program),
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 1
    assert "HostError: no permission to make the TUN interface" in done.stderr
    assert "CAP_NET_ADMIN" in done.stderr
