"""The events of qh3's native core, for a connection whose core is driven directly, and those of its own wrapper."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from qh3.quic import events
from qh3.quic.events import ConnectionTerminated
from qh3.quic.tls_bridge import QuicTlsBridgeError
from qh3.tls import Epoch

from vpnrs_core.interfaces.engine import (
    Closed,
    ConnectionIdIssued,
    ConnectionIdRetired,
    EngineEvent,
    StreamData,
    StreamReset,
)

DATAGRAM = "datagram"
# RFC 9001 section 4.8 on the alert decode_error, RFC 9000 section 19.6.
_DECODE_ERROR, _CRYPTO_FRAME = 0x100 + 50, 0x06
_kind, _content = itemgetter(0), itemgetter(1)


class NativeEvents:
    """Does for each kind of event what qh3's own wrapper does; `kinds` names all but DATAGRAM."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.end: ConnectionTerminated | None = None
        # Each takes the event and returns what the driver hears of it.
        self.kinds: dict[str, Callable[[tuple[Any, ...]], EngineEvent | None]] = {
            "crypto_data": self._crypto_data,
            "stream_data": lambda e: StreamData(e[1], e[2], e[3]),
            "stream_reset": lambda e: StreamReset(e[1], e[2]),
            "stream_finished": self._stream_finished,
            "stop_sending": _nothing,  # the core resets the stream
            "new_token": _nothing,  # for a later connection's Retry; ours begin without
            "ping_acknowledged": _nothing,
            "handshake_done": self._handshake_done,
            "connection_id_issued": lambda e: ConnectionIdIssued(e[1]),
            "connection_id_retired": lambda e: ConnectionIdRetired(e[1]),
            "peer_closed": lambda e: self._ended(e[2], e[3], _text(e[4])),
            "protocol_error": lambda e: self._ended(e[1], e[2], _text(e[3])),
            "connection_terminated": lambda e: self._ended(e[1], e[2], _text(e[3])),
        }

    def drain(self, datagrams: list[bytes], found: list[EngineEvent]) -> None:
        """Append what came: contents of DATAGRAM frames, and everything else."""
        following = self._connection._core.next_event
        while came := list(iter(following, None)):
            # Without a loop of Python's where there is nothing else.
            if list(map(_kind, came)).count(DATAGRAM) == len(came):
                datagrams.extend(map(_content, came))
                return
            for event in came:
                if event[0] == DATAGRAM:
                    datagrams.append(event[1])
                    continue
                handle = self.kinds.get(event[0])
                heard = handle(event) if handle is not None else None
                if heard is not None:
                    found.append(heard)

    def _crypto_data(self, event: tuple[Any, ...]) -> None:
        """TLS messages after the handshake."""
        c = self._connection
        try:
            c._tls.receive_crypto(Epoch(event[1]), event[3], event[2], version=c._core.version)
            c._drain_tls()
        except QuicTlsBridgeError as error:
            self._fail(error.error_code, int(error.frame_type), error.reason_phrase)
        except ValueError as error:  # qh3 lets what is cut off or malformed through as it is
            self._fail(_DECODE_ERROR, _CRYPTO_FRAME, str(error))

    def _fail(self, code: int, frame: int, reason: str) -> None:
        self._connection.close(code, frame, reason)
        self._ended(code, frame, reason)

    def _stream_finished(self, event: tuple[Any, ...]) -> None:
        self._connection._created_local_stream_ids.discard(event[1])

    def _handshake_done(self, event: tuple[Any, ...]) -> None:
        self._connection._handshake_confirmed = True
        self._connection._core.handshake_confirmed()

    def _ended(self, code: int, frame: int | None, reason: str) -> None:
        if self.end is None:
            self.end = ConnectionTerminated(code, frame, reason)


def ended(end: ConnectionTerminated) -> Closed:
    """`reason` as people read it: the peer's own words, or which QUIC error it was."""
    if end.reason_phrase == "Idle timeout":
        return Closed(end.error_code, "idle timeout")
    if end.frame_type is None:
        return Closed(end.error_code, end.reason_phrase)
    return Closed(end.error_code, f"QUIC error 0x{end.error_code:x}: {end.reason_phrase or 'no reason given'}")


def told(event: Any) -> list[EngineEvent]:
    """What the driver hears of an event as qh3's own wrapper reports it: of streams and connection ids."""
    match event:
        case events.StreamDataReceived(data=data, end_stream=end, stream_id=stream):
            return [StreamData(stream, data, end)]
        case events.StreamReset(error_code=code, stream_id=stream):
            return [StreamReset(stream, code)]
        case events.ConnectionIdIssued(connection_id=connection_id):
            return [ConnectionIdIssued(connection_id)]
        case events.ConnectionIdRetired(connection_id=connection_id):
            return [ConnectionIdRetired(connection_id)]
    return []


def _nothing(event: tuple[Any, ...]) -> None: ...


def _text(reason: bytes | str) -> str:
    return reason if isinstance(reason, str) else reason.decode(errors="replace")
