"""The streams of one QUIC connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpnrs_core.errors import PeerError

if TYPE_CHECKING:
    from vpnrs_core.quic.connection import QuicConnection


class ConnectionStreams:
    """interfaces.Streams. Writing to a closed connection does nothing: `closed` has been or will be reported."""

    def __init__(self, owner: QuicConnection) -> None:
        self._owner = owner

    def open(self, *, unidirectional: bool = False) -> int:
        if self._owner.ended:
            raise PeerError("the connection is closed: no stream can be opened")
        return self._owner.engine.open_stream(unidirectional=unidirectional)

    def write(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self._owner.guarded("write", lambda engine: engine.write_stream(stream, data, end=end))

    def reset(self, stream: int, code: int) -> None:
        self._owner.guarded("reset", lambda engine: engine.reset_stream(stream, code))

    def unsent(self, stream: int) -> int:
        return self._owner.unsent(stream)
