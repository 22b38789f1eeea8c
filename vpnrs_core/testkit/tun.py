"""A TUN pair in memory: the engine has one end as its device, the test is the host at the other."""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Self

from vpnrs_core.errors import HostError
from vpnrs_core.interfaces.tun import OFFLOADS, TunCounters

_VNET = bytes(10)
# The vnet header and the largest IP packet, rounded up as the real device does.
_READ_SIZE = 65_550
_BUFFER = 4 << 20


class FakeTun:
    """One end. Both ends have the interface of TunDevice and a real descriptor, so `loop.add_reader` works."""

    def __init__(self, end: socket.socket, name: str, offloads: frozenset[str]) -> None:
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        self._end = end
        self._fd = end.fileno()
        self.name = name
        self.offloads = offloads
        self.write_failures: Counter[int] = Counter()
        self.moved = TunCounters()

    @classmethod
    def pair(cls, name: str = "fake0", offloads: frozenset[str] = OFFLOADS) -> tuple[Self, Self]:
        """(device, host): what one writes the other reads, frame by frame. `offloads` are the device's."""
        device, host = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(device, name, offloads), cls(host, f"{name}-host", OFFLOADS)

    def fileno(self) -> int:
        return self._fd

    def read_batch(self, max_packets: int, max_bytes: int) -> list[bytes]:
        frames: list[bytes] = []
        total = 0
        try:
            while len(frames) < max_packets and total < max_bytes:
                frame = os.read(self._fd, _READ_SIZE)
                if not frame:
                    if frames:
                        break
                    raise self._gone()
                frames.append(frame)
                total += len(frame)
        except BlockingIOError:
            pass
        except OSError as error:
            raise self._gone() from error
        self.moved.frames_read += len(frames)
        self.moved.bytes_read += total - len(_VNET) * len(frames)
        return frames

    def write_batch(self, frames: Sequence[bytes]) -> int:
        """A frame shorter than a vnet header and an IP header is refused with EINVAL, as by the kernel; a full pair
        with EAGAIN."""
        written = 0
        for frame in frames:
            if len(frame) < 30 or frame[10] >> 4 not in (4, 6):
                self.write_failures[errno.EINVAL] += 1
                continue
            try:
                os.write(self._fd, frame)
            except BlockingIOError:
                self.write_failures[errno.EAGAIN] += 1
            except OSError as error:
                raise self._gone() from error
            else:
                written += 1
                self.moved.frames_written += 1
                self.moved.bytes_written += len(frame) - len(_VNET)
        return written

    def send(self, *packets: bytes) -> int:
        """Write IP packets without vnet headers → how many were taken."""
        return self.write_batch([_VNET + packet for packet in packets])

    def receive(self, max_packets: int = 1024) -> list[bytes]:
        """IP packets without their vnet headers that have arrived."""
        return [frame[10:] for frame in self.read_batch(max_packets, 1 << 30)]

    def close(self) -> None:
        self._fd = -1
        self._end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gone(self) -> HostError:
        return HostError(f"the interface {self.name} was removed while in use: start again to have a new one")
