"""QUIC engines: sans-IO connections that one driver runs, bytes and a clock in, datagrams and a timer out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from vpnrs_core.interfaces.common import Seconds

# The kernel's own form: (host, port) for IPv4, (host, port, flow, scope) for IPv6.
SocketAddress = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, repr=False)
class QuicSettings:
    """One side's settings. `certificate` and `key` are PEM (server); `ca` is PEM, and None with verify="ca" means the
    system's trust store; verify="pin" leaves the check of the public key to the transport, which makes it before any
    stream is opened. `idle_timeout` is seconds.

    Bytes of UDP payload: `max_udp_payload` is the most that packets may ever have, `start_udp_payload` what they have
    once the handshake is done until `use_payload` says otherwise (None: the most), `handshake_udp_payload` the most
    while it is not done."""

    is_client: bool
    alpns: Sequence[str]
    certificate: bytes | None = None
    key: bytes | None = None
    verify: Literal["pin", "ca"] = "pin"
    ca: bytes | None = None
    server_name: str | None = None
    max_udp_payload: int = 1350
    start_udp_payload: int | None = None
    handshake_udp_payload: int = 1280
    congestion: str = "cubic"
    idle_timeout: Seconds = 30.0


@dataclass(frozen=True)
class EngineEvent:
    """Base of what a connection reports."""


@dataclass(frozen=True)
class HandshakeDone(EngineEvent):
    alpn: str


@dataclass(frozen=True)
class StreamData(EngineEvent):
    stream: int
    data: bytes
    end: bool


@dataclass(frozen=True)
class StreamReset(EngineEvent):
    stream: int
    code: int


@dataclass(frozen=True)
class ConnectionIdIssued(EngineEvent):
    connection_id: bytes


@dataclass(frozen=True)
class ConnectionIdRetired(EngineEvent):
    connection_id: bytes


@dataclass(frozen=True)
class Closed(EngineEvent):
    """The last event: the peer has closed, the connection is lost, or the engine gave up. Afterwards `timer` says until
    when the connection must be kept to drain (RFC 9000 section 10.2), and is None when it may be forgotten."""

    code: int
    reason: str


class EngineConnection(Protocol):
    """One QUIC connection without I/O. After any call that changes it, `transmit` and then `timer` are asked."""

    @property
    def connection_ids(self) -> Sequence[bytes]:
        """The ids a server is reached by, the client's first choice included."""

    def connect(self, address: SocketAddress, now: Seconds) -> None: ...
    def receive(self, data: bytes, segment: int, address: SocketAddress, now: Seconds) -> None:
        """A UDP payload, or several of `segment` bytes each (the last may be shorter), as UDP_GRO joins them."""

    def received_datagrams(self) -> list[bytes]:
        """DATAGRAM payloads since the last call, in order."""

    def events(self) -> list[EngineEvent]: ...
    def transmit(self, now: Seconds) -> list[tuple[list[bytes], SocketAddress]]:
        """UDP payloads to send, in order: those for one address together, as they usually all are."""

    def timer(self) -> Seconds | None: ...
    def handle_timer(self, now: Seconds) -> None: ...
    def max_datagram(self) -> int: ...
    def room(self, now: Seconds) -> int:
        """Bytes of DATAGRAM payload that would leave now; what `send` is given beyond that is not taken."""

    def send(self, datagrams: Sequence[bytes], now: Seconds) -> int:
        """How many were taken, in order. One larger than `max_datagram` is taken, dropped and counted: the path
        shrank since the caller asked."""

    def limit_payload(self, size: int) -> None:
        """The path refused larger UDP payloads than `size` bytes; `max_datagram` shrinks. Never below 1200."""

    @property
    def payload(self) -> int:
        """Bytes of UDP payload that packets have at most now."""

    @property
    def largest_payload(self) -> int:
        """The most that `use_payload` may still raise it to."""

    def use_payload(self, size: int, *, settled: bool) -> None:
        """What the path is known to carry; `max_datagram` follows, up or down. `settled`: no more is looked for now, so
        an engine that cannot go back up may hold to it for good."""

    def probe(self, head: bytes, size: int) -> None:
        """Send, with the next `transmit`, one packet of `size` bytes of UDP payload with a DATAGRAM that begins with
        `head` and is filled up with zeros. A packet that is lost is no sign of congestion."""

    def ping(self) -> None:
        """Make the peer acknowledge something."""

    def open_stream(self, *, unidirectional: bool = False) -> int: ...
    def write_stream(self, stream: int, data: bytes, *, end: bool = False) -> None: ...
    def reset_stream(self, stream: int, code: int) -> None: ...
    def unsent(self, stream: int) -> int: ...
    def peer_certificate(self) -> bytes | None:
        """DER, once the handshake has delivered it."""

    @property
    def peer_address(self) -> SocketAddress: ...
    def rtt(self) -> Seconds | None: ...
    def facts(self) -> Mapping[str, str | int | float]: ...
    def close(self, code: int, reason: str) -> None: ...


class QuicEngine(Protocol):
    """Makes connections. `engine = "auto"` takes the installed one with the highest PREFERENCE."""

    NAME: ClassVar[str]
    PREFERENCE: ClassVar[int]

    def client(self, settings: QuicSettings) -> EngineConnection: ...
    def server(
        self, settings: QuicSettings, original_destination_id: bytes, retry_source_id: bytes | None
    ) -> EngineConnection: ...
