"""Transports make connections; a link is one session's share of a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from vpnrs_core.interfaces.common import Network, Seconds


@dataclass(frozen=True)
class PathFacts:
    """The path as the transport sees it. `rtt` is smoothed seconds, `loss` a fraction, None: not known.
    `datagram_size` is the UDP payload in bytes that the path carries."""

    local: str
    remote: str
    rtt: Seconds | None = None
    loss: float | None = None
    datagram_size: int | None = None


@dataclass(frozen=True)
class PeerIdentity:
    """Who the transport says the peer is: DER of its public key (SPKI) and certificate, None where it has none."""

    spki: bytes | None
    certificate: bytes | None = None


class Streams(Protocol):
    """Ordered byte streams of a connection, named by QUIC's stream ids."""

    def open(self, *, unidirectional: bool = False) -> int: ...
    def write(self, stream: int, data: bytes, *, end: bool = False) -> None: ...
    def reset(self, stream: int, code: int) -> None: ...
    def unsent(self, stream: int) -> int:
        """Bytes written and not yet handed to the network."""


class ConnectionEvents(Protocol):
    """What a connection reports, always from the loop's thread. `closed` is the last call, and comes once."""

    def stream_data(self, stream: int, data: bytes, end: bool) -> None: ...
    def stream_reset(self, stream: int, code: int) -> None: ...
    def datagrams(self, batch: Sequence[bytes]) -> None: ...
    def writable(self) -> None:
        """`send` takes datagrams, or a stream's unsent bytes shrank, after it was full."""

    def path_changed(self, path: PathFacts) -> None: ...
    def closed(self, code: int, reason: str) -> None: ...


@dataclass(frozen=True)
class PayloadSizes:
    """UDP payloads in bytes: `now` is what packets have at most, `most` what the connection and this host could send.
    `ip_overhead` is the bytes of IP and UDP header."""

    now: int
    most: int
    ip_overhead: int


@runtime_checkable
class ProbedPath(Protocol):
    """What a connection has besides when the size of its datagrams is to be found out (docs/wire.md §7)."""

    def payload_sizes(self) -> PayloadSizes: ...
    def use_payload(self, size: int, *, settled: bool) -> None:
        """The path carries that; `max_datagram` follows. `settled`: the search is over for now."""

    def probe(self, head: bytes, size: int) -> None:
        """Send one packet of `size` bytes of UDP payload with a datagram that begins with `head`, then zeros."""

    def path_rtt(self) -> Seconds | None: ...
    def path_hint(self) -> int | None:
        """What this host has heard (ICMP) that the path carries, bytes of UDP payload; None: nothing."""


class Connection(Protocol):
    """An established, encrypted connection. Its server side is made before anyone has authenticated."""

    @property
    def alpn(self) -> str: ...
    @property
    def is_client(self) -> bool: ...
    @property
    def peer(self) -> PeerIdentity: ...
    @property
    def server_spki(self) -> bytes:
        """DER of the server's public key: what authentication binds itself to."""

    @property
    def path(self) -> PathFacts: ...
    @property
    def streams(self) -> Streams: ...
    def listen(self, events: ConnectionEvents) -> None:
        """Set the one receiver of events. What arrived before is delivered at once."""

    def max_datagram(self) -> int:
        """Largest datagram in bytes that `send` takes now, 0: this connection has none."""

    def room(self) -> int:
        """Bytes of datagrams that `send` would take now. 0 while control-stream bytes are unsent."""

    def send(self, datagrams: Sequence[bytes]) -> int:
        """Hand over datagrams in order → how many were taken. The rest stay the caller's. They leave at the end of
        the turn."""

    def authenticated(self) -> None:
        """The session protocol has let the peer in: limits for unauthenticated connections end."""

    def close(self, code: int, reason: str = "") -> None: ...
    def facts(self) -> Mapping[str, str | int | float]:
        """For status: engine, congestion window in bytes, bytes sent and received, and the like."""


class Lane(Protocol):
    """How a link's payloads travel: in datagrams, or in capsules on a stream."""

    NAME: ClassVar[str]

    def max_payload(self) -> int:
        """Largest payload in bytes, codec context id included, that `send` takes now."""

    def room(self) -> int: ...
    def send(self, payloads: Sequence[bytes]) -> int: ...


class Link(Protocol):
    """One session's share of a connection."""

    @property
    def connection(self) -> Connection: ...
    @property
    def prefix(self) -> bytes: ...
    def max_payload(self) -> int: ...
    def room(self) -> int: ...
    def message(self, codec: str, body: bytes) -> None:
        """Send a codec's own message on the control stream (capsule EXT)."""


class Listener(Protocol):
    """A listening transport. `where` is the address in use, with the port the system chose for port 0."""

    @property
    def where(self) -> str: ...
    async def close(self) -> None: ...


@runtime_checkable
class Door(Protocol):
    """What a listener may have besides: what it did with peers that have not authenticated."""

    def door(self) -> Mapping[str, int]:
        """`waiting`: connections that have not authenticated, now. The others count since the start: connections
        `accepted`, and of them `never_authenticated`; packets answered without remembering anything (`retry`,
        `version_negotiation`); packets dropped, by reason."""


@runtime_checkable
class TransportFacts(Protocol):
    """What a transport may have besides: its own counts."""

    def facts(self) -> Mapping[str, int]:
        """Of all its sockets since the start, closed ones too: `udp_packets_in`, `udp_bytes_in`, `…_out`,
        `udp_packets_lost`, `udp_packets_too_large`."""


@runtime_checkable
class Aims(Protocol):
    """A transport that can say what it will dial before it does: a kill switch must let that through, and routes into
    the tunnel must leave it out. `on_underlay` is awaited when `underlay()` has grown, before the first packet."""

    on_underlay: Callable[[], Awaitable[None]] | None

    async def aim(self, where: str, known: Sequence[Network] = ()) -> None:
        """Find out, and keep, what `where` stands for. `known`: addresses to fall back on when it cannot be found out.
        Raises HostError, ConfigError."""


class Transport(Protocol):
    NAME: ClassVar[str]
    LACKS: ClassVar[frozenset[Literal["datagrams", "migration", "sockets", "client_certificates", "streams"]]]

    async def listen(self, where: str, alpns: Sequence[str], on_connection: Callable[[Connection], None]) -> Listener:
        """Server. `on_connection` is called once a handshake is complete. Raises HostError, ConfigError."""

    async def dial(self, where: str, alpns: Sequence[str], *, via: str | None = None) -> Connection:
        """Client. Returns once the server's identity has been verified. Raises PeerError, ConfigError, HostError."""

    async def close(self) -> None:
        """Close what is still open, wait (a second at most) until the peers have been told, release all sockets."""

    def underlay(self) -> Iterable[Network | str]:
        """What the transport sends to, so that routes into the tunnel never swallow it."""
