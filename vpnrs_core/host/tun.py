"""The Linux TUN device: opening, probing its offloads, reading and writing frames in batches."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Final

import pytun

from vpnrs_core.errors import HostError
from vpnrs_core.host.names import valid_tun_name
from vpnrs_core.interfaces.tun import OFFLOADS, TunCounters

DEFAULT_NAME: Final = "vpnrs%d"
DEVICE: Final = "/dev/net/tun"

# The vnet header and the largest IP packet that its length fields can say, rounded up.
READ_SIZE: Final = 65_550

_VNET: Final = 10

_TUNSETOFFLOAD: Final = 0x400454D0
_TUNSETVNETLE: Final = 0x400454DC
_CSUM, _TSO4, _TSO6, _TSO_ECN, _USO4, _USO6 = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40

# From most to least; kernels before 6.2 know no USO, and the kernel takes USO4 and USO6 only together.
_LADDER: Final[tuple[tuple[int, frozenset[str]], ...]] = (
    (_CSUM | _TSO4 | _TSO6 | _TSO_ECN | _USO4 | _USO6, OFFLOADS),
    (_CSUM | _TSO4 | _TSO6 | _TSO_ECN, frozenset({"tcp4", "tcp6"})),
    (_CSUM | _TSO4 | _TSO6, frozenset({"tcp4", "tcp6"})),
    (_CSUM, frozenset()),
)

# The device was removed under us: nothing that follows can succeed.
_GONE: Final = frozenset({errno.EBADFD, errno.EBADF, errno.ENODEV})


class Tun:
    """A TUN device of our own; the interface dies with it. `offloads` are the kinds that may be written."""

    def __init__(self, device: pytun.TunTapDevice, offloads: frozenset[str]) -> None:
        self._device = device
        self._fd: int = device.fileno()
        self.name: str = device.name
        self.offloads = offloads
        self.write_failures: Counter[int] = Counter()
        self.moved = TunCounters()

    @classmethod
    def open(cls, name: str = DEFAULT_NAME, *, offload: bool = True, limit: frozenset[str] = OFFLOADS) -> Tun:
        """Make the interface. `name` may be a template with %d. `offload` False: single packets with finished
        checksums only. `limit` keeps the probe from asking for more than these kinds. Raises HostError."""
        valid_tun_name(name)
        if not os.path.exists(DEVICE):
            raise HostError(no_device())
        # TUN_EXCL: attaching to somebody's persistent device of the same name would take it over.
        flags = pytun.IFF_TUN | pytun.IFF_NO_PI | pytun.IFF_VNET_HDR | pytun.IFF_TUN_EXCL
        try:
            device = pytun.TunTapDevice(name=name, flags=flags)
        except OSError as error:
            raise _open_error(name, error) from error
        os.set_blocking(device.fileno(), False)
        # The vnet header in the byte order of the wire, whatever this machine's own is.
        fcntl.ioctl(device.fileno(), _TUNSETVNETLE, struct.pack("i", 1))
        return cls(device, probe_offloads(device.fileno(), limit if offload else None))

    def fileno(self) -> int:
        return self._fd

    def read_batch(self, max_packets: int, max_bytes: int) -> list[bytes]:
        """Frames in order; see interfaces.TunDevice."""
        frames: list[bytes] = []
        total = 0
        read, fd = os.read, self._fd
        try:
            while len(frames) < max_packets and total < max_bytes:
                frame = read(fd, READ_SIZE)
                frames.append(frame)
                total += len(frame)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in _GONE:
                raise self._gone() from error
            raise HostError(f"reading from {self.name} failed: {error.strerror}") from error
        self.moved.frames_read += len(frames)
        self.moved.bytes_read += total - _VNET * len(frames)
        return frames

    def write_batch(self, frames: Sequence[bytes]) -> int:
        """→ how many frames were written; see interfaces.TunDevice."""
        written = total = 0
        write, fd = os.write, self._fd
        for frame in frames:
            try:
                total += write(fd, frame)
            except OSError as error:
                if error.errno in _GONE:
                    raise self._gone() from error
                self.write_failures[error.errno or 0] += 1
            else:
                written += 1
        self.moved.frames_written += written
        self.moved.bytes_written += total - _VNET * written
        return written

    def close(self) -> None:
        if self._fd >= 0:
            self._fd = -1
            self._device.close()

    def _gone(self) -> HostError:
        return HostError(f"the interface {self.name} was removed while in use: start again to have a new one")


def probe_offloads(fd: int, limit: frozenset[str] | None) -> frozenset[str]:
    """Turn on the most that the kernel takes within `limit`, None: nothing at all. → what may be written."""
    if limit is not None:
        for bits, kinds in _LADDER:
            if not kinds <= limit:
                continue
            try:
                fcntl.ioctl(fd, _TUNSETOFFLOAD, bits)
            except OSError:
                continue
            return kinds
    fcntl.ioctl(fd, _TUNSETOFFLOAD, 0)
    return frozenset()


def no_device() -> str:
    """What to tell someone whose machine has no /dev/net/tun."""
    return (
        f"{DEVICE} does not exist: load the driver with 'modprobe tun', or give the container the device "
        f"(--device {DEVICE})"
    )


def _open_error(name: str, error: OSError) -> HostError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return HostError(
            f"no permission to make the TUN interface {name}: run as root, or give the process CAP_NET_ADMIN "
            f"and access to {DEVICE}"
        )
    if error.errno == errno.EBUSY:
        return HostError(
            f"the interface name {name} is taken: choose another name, use the template {DEFAULT_NAME}, "
            f"or remove it with 'ip link delete {name}'"
        )
    if error.errno in (errno.ENODEV, errno.ENXIO):
        return HostError(f"{DEVICE} has no driver behind it: load it with 'modprobe tun'")
    return HostError(f"cannot make the TUN interface {name}: {error.strerror}")
