"""The two lanes over a connection: payloads in datagrams, or in DATAGRAM capsules on a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from vpnrs_core.interfaces.transport import Connection
from vpnrs_core.wire.capsule import encode_capsule
from vpnrs_core.wire.codepoints import CONTROL_STREAM, MAX_LANE_VALUE, CapsuleType

# Bytes of a stream lane that may wait in the transport: more would only be delay.
MAX_UNSENT = 256 * 1024


class DatagramLane:
    """The default. What a datagram may hold is asked of the connection each time."""

    NAME: ClassVar[str] = "datagram"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def max_payload(self) -> int:
        return self._connection.max_datagram()

    def room(self) -> int:
        return self._connection.room()

    def send(self, payloads: Sequence[bytes]) -> int:
        return self._connection.send(payloads)


class StreamLane:
    """For connections whose datagrams are missing or slow. It takes nothing until its stream is there, and nothing
    while control messages wait."""

    NAME: ClassVar[str] = "stream"

    def __init__(self, connection: Connection, control: int = CONTROL_STREAM) -> None:
        self._streams = connection.streams
        self._control = control
        self._stream: int | None = None

    @property
    def ready(self) -> bool:
        return self._stream is not None

    def use(self, stream: int | None) -> None:
        """The stream to write to; None: it is gone."""
        self._stream = stream

    def max_payload(self) -> int:
        return MAX_LANE_VALUE

    def room(self) -> int:
        if self._stream is None or self._streams.unsent(self._control):
            return 0
        return max(0, MAX_UNSENT - self._streams.unsent(self._stream))

    def send(self, payloads: Sequence[bytes]) -> int:
        """Takes payloads until the room is used up; the last one taken may exceed it."""
        room = self.room()
        capsules: list[bytes] = []
        for payload in payloads:
            if room <= 0:
                break
            capsules.append(encode_capsule(CapsuleType.DATAGRAM, payload))
            room -= len(capsules[-1])
        if capsules and self._stream is not None:
            self._streams.write(self._stream, b"".join(capsules))
        return len(capsules)
