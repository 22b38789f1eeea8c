"""One UDP socket, the QUIC connections on it, and the turn of the loop: collect, deliver, one flush."""

from __future__ import annotations

import abc
import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from vpnrs_core.errors import PluginError
from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.engine import EngineConnection, QuicEngine, SocketAddress
from vpnrs_core.quic.codes import CLOSE_GOING_AWAY
from vpnrs_core.quic.connection import QuicConnection
from vpnrs_core.quic.demux import Demux
from vpnrs_core.quic.settings import QuicConfig
from vpnrs_core.quic.udp import Received, SocketCounters, UdpSocket, bursts, host_text, path_payload

log = logging.getLogger("vpnrs.quic")

# What one wake-up reads from the socket. Connections are served once a turn, whatever came: with many of them, packets
# that wait come few at a read, and a turn that took few reads would serve each connection for next to nothing.
_READS_A_TURN = 128
_BYTES_A_TURN = 512 << 10
_ROUNDS_A_TURN = 4
# Packets that a full socket buffer left over. More than that is lost, and QUIC slows down.
_MOST_BACKLOG_BYTES = 1 << 20
_DRAIN_LIMIT = 1.0
# Addresses of which is known what the host sends there in one piece. Forgetting one costs a packet that is refused.
_MOST_LIMITS = 1024


class Driver(abc.ABC):
    """Runs connections of any engine. All methods belong to the loop's thread."""

    def __init__(self, sock: UdpSocket, config: QuicConfig) -> None:
        self.config = config
        self.demux: Demux[QuicConnection] = Demux()
        self.clogged = False
        self.closed = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self.now: Callable[[], Seconds] = self._loop.time
        self._socket = sock
        self._touched: dict[QuicConnection, None] = {}
        self._scheduled = False
        self._turning = False
        self._members: set[QuicConnection] = set()
        self._backlog: deque[tuple[list[bytes], SocketAddress, bytes]] = deque()
        self._backlog_bytes = 0
        self._too_large = 0
        self._limits: dict[SocketAddress, int] = {}
        self._closing = False
        self.host, self.port = host_text(sock.name[0]), sock.name[1]
        self._loop.add_reader(sock.fileno(), self._readable)

    # What connections ask

    @property
    def counters(self) -> SocketCounters:
        return self._socket.counters

    def facts(self) -> Mapping[str, int]:
        """The socket's, for status: a server's connections share them."""
        counters = self.counters
        return {
            "udp_bytes_in": counters.bytes_in,
            "udp_packets_in": counters.packets_in,
            "udp_bytes_out": counters.bytes_out,
            "udp_packets_out": counters.packets_out,
            "udp_packets_lost": counters.lost,
            "udp_packets_too_large": counters.too_large,
            "gso": int(self._socket.gso),
            "gro": int(self._socket.gro),
        }

    def payload_limit(self, address: SocketAddress) -> int:
        """What this host sends there in one piece. A limit that it once ran into is looked at again."""
        known = self._limits.get(address)
        if known is None:
            return self.config.max_udp_payload
        size = path_payload(address)
        if size is not None and size > known:
            del self._limits[address]
            return min(size, self.config.max_udp_payload)
        return known

    def call_at(self, at: Seconds, act: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_at(at, act)

    def soon(self, act: Callable[[], None]) -> None:
        self._loop.call_soon(act)

    def touch(self, connection: QuicConnection) -> None:
        """The connection has something to do: in this turn, or in one that is made for it."""
        self._touched[connection] = None
        if not self._turning and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    # What a server adds to a connection's life: nothing, at a client.

    def established(self, connection: QuicConnection) -> None:  # noqa: B027
        """The handshake is complete."""

    def admitted(self, connection: QuicConnection) -> None:  # noqa: B027
        """The session protocol has let the peer in."""

    def ended(self, connection: QuicConnection) -> None:  # noqa: B027
        """The connection is over, and drains."""

    def _forgotten(self, connection: QuicConnection) -> None:  # noqa: B027
        """It has drained."""

    def _remind(self, connection: QuicConnection) -> None:  # noqa: B027
        """The peer still talks on a connection that we have closed: our close was lost, or is on its way."""

    def forget(self, connection: QuicConnection) -> None:
        """The connection has drained."""
        if connection not in self._members:
            return
        self._members.discard(connection)
        self._touched.pop(connection, None)
        self._forgotten(connection)
        if self._closing and not self._members:
            self.release()

    # The turn

    def _readable(self) -> None:
        now = self.now()
        self._turning = True
        left = _BYTES_A_TURN
        try:
            for _ in range(_READS_A_TURN):
                received = self._socket.recv()
                if received is None:
                    break
                if received.data:
                    self._route(received, now)
                left -= len(received.data)
                if left <= 0:
                    break
        finally:
            self._turning = False
        self._turn()

    @abc.abstractmethod
    def _route(self, received: Received, now: Seconds) -> None:
        """Hand what was received to its connection."""

    def _hand(self, connection: QuicConnection, received: Received, data: bytes, now: Seconds) -> None:
        if connection.ended:
            self._remind(connection)
            return
        try:
            connection.receive(data, received.segment, received.address, received.local, now)
        except Exception as error:
            connection.abandon(error)
            return
        self._touched[connection] = None

    def _turn(self) -> None:
        self._scheduled = False
        if self.closed.done():
            return
        self._turning = True
        try:
            for _ in range(_ROUNDS_A_TURN):
                if not self._touched:
                    break
                touched, self._touched = self._touched, {}
                now = self.now()
                for connection in touched:
                    self._serve(connection, now)
        finally:
            self._turning = False
        if self._touched and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _serve(self, connection: QuicConnection, now: Seconds) -> None:
        try:
            packets = connection.turn(now)
            if packets:
                self._send(connection, packets)
            connection.after_send()
            connection.arm()
        except Exception as error:
            connection.abandon(error)

    # Sending

    def _send(self, connection: QuicConnection, packets: Sequence[tuple[list[bytes], SocketAddress]]) -> None:
        for payloads, address in packets:
            for group in bursts(payloads):
                self._send_group(group, address, self._source(connection))
            if self.counters.too_large != self._too_large:
                self._too_large = self.counters.too_large
                self._shrink(connection, address)

    def _source(self, connection: QuicConnection) -> bytes:
        """The PKTINFO to send with: replies leave from where they were asked."""
        return connection.local

    def _send_group(self, group: list[bytes], address: SocketAddress, local: bytes) -> None:
        sent = 0 if self.clogged else self._socket.send(group, address, local)
        if sent == len(group):
            return
        rest = group[sent:]
        size = sum(map(len, rest))
        if self._backlog_bytes + size > _MOST_BACKLOG_BYTES:
            self.counters.lost += len(rest)
            return
        self._backlog.append((rest, address, local))
        self._backlog_bytes += size
        if not self.clogged:
            self.clogged = True
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        while self._backlog:
            group, address, local = self._backlog.popleft()
            sent = self._socket.send(group, address, local)
            self._backlog_bytes -= sum(map(len, group[:sent]))
            if sent < len(group):
                self._backlog.appendleft((group[sent:], address, local))
                return
        self._unclog()
        for connection in self._members:
            self.touch(connection)

    def _unclog(self) -> None:
        if self.clogged:
            self.clogged = False
            self._loop.remove_writer(self._socket.fileno())

    def _shrink(self, connection: QuicConnection, address: SocketAddress) -> None:
        """The route to the peer takes no packets of this size (any more)."""
        size = path_payload(address)
        if size is None or size >= self.payload_limit(address):
            return
        log.warning("the path to %s takes UDP payloads of %d bytes", address[0], size)
        while len(self._limits) >= _MOST_LIMITS:
            del self._limits[next(iter(self._limits))]
        self._limits[address] = size
        connection.engine.limit_payload(size)
        connection.path_shrank()

    # The end

    async def close(self, reason: str = "going away") -> None:
        """Close all connections, wait (a second at most) until they have drained, release the socket."""
        self._closing = True
        for connection in list(self._members):
            connection.close(CLOSE_GOING_AWAY, reason)
        if not self._members:
            self.release()
        await asyncio.wait([self.closed], timeout=_DRAIN_LIMIT)
        self.release()

    def release(self) -> None:
        """Give the socket back, whatever is still on it."""
        if self.closed.done():
            return
        self.closed.set_result(None)
        self._loop.remove_reader(self._socket.fileno())
        self._unclog()
        for connection in self._members:
            connection.disarm()
        self._members.clear()
        self._touched.clear()
        self._backlog.clear()
        self._socket.close()


class ClientDriver(Driver):
    """The socket of one dialled connection; it is released when the connection has drained."""

    def __init__(self, sock: UdpSocket, config: QuicConfig, engine: EngineConnection) -> None:
        super().__init__(sock, config)
        self._closing = True
        self.connection = QuicConnection(engine, self, is_client=True)
        self._members.add(self.connection)

    def connect(self, address: SocketAddress) -> asyncio.Future[None]:
        """The future is done when the handshake is, or fails with PeerError."""
        established: asyncio.Future[None] = self._loop.create_future()
        self.connection.established = established
        self.connection.engine.connect(address, self.now())
        self.touch(self.connection)
        return established

    def _source(self, connection: QuicConnection) -> bytes:
        """A client follows its host's routes, also to another network with another address."""
        return b""

    def _route(self, received: Received, now: Seconds) -> None:
        self._hand(self.connection, received, received.data, now)


class EngineError(PluginError):
    """An engine did not do what it promised. `registered` is its NAME, by which its plugin can be found."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"QUIC engine {name!r}: {text}")
        self.registered = name


def expect_connection(engine: QuicEngine, method: str, made: object) -> None:
    """Raises PluginError when what an engine made is no connection, before a driver finds out in the middle."""
    missing = [name for name in ("receive", "transmit", "timer") if not hasattr(made, name)]
    if missing:
        lacks = f"lacks {', '.join(missing)}"
        raise EngineError(engine.NAME, f"{method} returned {type(made).__name__}, which {lacks}")
