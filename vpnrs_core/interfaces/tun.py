"""The TUN device as the engine sees it: frames in, frames out, a file descriptor for the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

# What `TunDevice.offloads` may hold: super-packets of TCP or UDP over IPv4 or IPv6.
OFFLOADS = frozenset({"tcp4", "tcp6", "udp4", "udp6"})


@dataclass(slots=True)
class TunCounters:
    """What passed the device since it was opened: frames, super-packets counting once, and their IP bytes."""

    frames_read: int = 0
    bytes_read: int = 0
    frames_written: int = 0
    bytes_written: int = 0


class TunDevice(Protocol):
    """A frame is the 10-byte virtio-net header and one IP packet or super-packet behind it, always, with and without
    offloads. Nothing here blocks."""

    @property
    def name(self) -> str:
        """The interface's name, as the kernel chose it."""

    @property
    def offloads(self) -> frozenset[str]:
        """Kinds of super-packets (OFFLOADS) that may be written; what is not here is segmented before."""

    @property
    def write_failures(self) -> Mapping[int, int]:
        """errno → frames that the kernel refused since the device was opened."""

    @property
    def moved(self) -> TunCounters:
        """The same counts as the kernel's own of the interface."""

    def fileno(self) -> int:
        """Readable when there are frames, for `loop.add_reader`."""

    def read_batch(self, max_packets: int, max_bytes: int) -> list[bytes]:
        """What has arrived, in order, until `max_packets` frames or `max_bytes` are reached (the last frame may go
        over) or nothing is left. Raises HostError when the device is gone."""

    def write_batch(self, frames: Sequence[bytes]) -> int:
        """→ how many were written. A refused frame stops none of the others; it is counted in `write_failures`.
        Raises HostError when the device is gone."""

    def close(self) -> None:
        """The interface, its addresses and routes disappear with it. May be called twice."""
