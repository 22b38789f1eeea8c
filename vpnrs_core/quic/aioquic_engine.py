"""aioquic as a QUIC engine: what goes in and out of its sans-IO connection, and the guards around it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, ClassVar

from aioquic.quic import events as aio
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.tls import CipherSuite, load_pem_private_key, load_pem_x509_certificates
from cryptography.hazmat.primitives.serialization import Encoding

from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.engine import (
    Closed,
    ConnectionIdIssued,
    ConnectionIdRetired,
    EngineEvent,
    HandshakeDone,
    QuicSettings,
    SocketAddress,
    StreamData,
    StreamReset,
)
from vpnrs_core.quic.aioquic_controller import react_to_queues
from vpnrs_core.quic.aioquic_fast import FastPath, SentProbe, frame_header
from vpnrs_core.quic.aioquic_private import VERSIONS, BurstPacer, SlidingLimit, fast_path_works
from vpnrs_core.quic.sizes import LEAST
from vpnrs_core.quic.standing import StandingQueue

# aioquic formats a line for most packets; nobody reads them at these levels.
logging.getLogger("quic").setLevel(logging.ERROR)

_HANDLERS = "_QuicConnection__frame_handlers"
_TAG = 16
_PACKET_NUMBER = 2
# A capsule of 16 KiB and a lane of 64 KiB super-packets fit; it grows with use.
_FLOW_WINDOW = 1 << 20
# Bytes of streams that one connection may make us keep, whatever it leaves out.
_MOST_FLOW_WINDOW = 16 << 20
_LARGEST_DATAGRAM_FRAME = 65535
_LONGEST_REASON = 200
# Bytes of packets a turn: encrypting more at once would keep other connections and acknowledgements waiting.
_MOST_A_TURN = 256 << 10
# AES first: CPUs without AES instructions are rare, and ChaCha20 costs the others 20 % more.
_CIPHERS = [CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384, CipherSuite.CHACHA20_POLY1305_SHA256]


class AioquicEngine:
    """The engine that every installation has. Raises PluginError when the installed aioquic is not understood."""

    NAME: ClassVar[str] = "aioquic"
    PREFERENCE: ClassVar[int] = 10

    def __init__(self, *, fast: bool = True) -> None:
        """`fast` False keeps to aioquic's own packet builder and parser."""
        self._fast = fast_path_works() and fast
        self._configurations: dict[int, tuple[QuicSettings, QuicConfiguration]] = {}

    def client(self, settings: QuicSettings) -> AioquicConnection:
        return AioquicConnection(QuicConnection(configuration=_configuration(settings)), settings, fast=self._fast)

    def server(
        self, settings: QuicSettings, original_destination_id: bytes, retry_source_id: bytes | None
    ) -> AioquicConnection:
        connection = QuicConnection(
            configuration=self._shared(settings),
            original_destination_connection_id=original_destination_id,
            retry_source_connection_id=retry_source_id,
        )
        first_id = retry_source_id or original_destination_id
        return AioquicConnection(connection, settings, fast=self._fast, first_id=first_id)

    def _shared(self, settings: QuicSettings) -> QuicConfiguration:
        """Parsing a key takes as long as a handshake, so a server's configuration is made once."""
        known = self._configurations.get(id(settings))
        if known is None:
            known = self._configurations[id(settings)] = (settings, _configuration(settings))
        return known[1]


def _configuration(settings: QuicSettings) -> QuicConfiguration:
    configuration = QuicConfiguration(
        is_client=settings.is_client,
        alpn_protocols=list(settings.alpns),
        cipher_suites=_CIPHERS,
        congestion_control_algorithm=settings.congestion,
        idle_timeout=settings.idle_timeout,
        max_data=_FLOW_WINDOW,
        max_stream_data=_FLOW_WINDOW,
        max_datagram_size=settings.max_udp_payload,
        max_datagram_frame_size=_LARGEST_DATAGRAM_FRAME,
        server_name=settings.server_name,
        supported_versions=list(VERSIONS),
    )
    if settings.certificate is not None and settings.key is not None:
        chain = load_pem_x509_certificates(settings.certificate.strip() + b"\n")
        configuration.certificate, configuration.certificate_chain = chain[0], chain[1:]
        configuration.private_key = load_pem_private_key(settings.key)
    if settings.is_client:
        _verify(configuration, settings)
    return configuration


def _verify(configuration: QuicConfiguration, settings: QuicSettings) -> None:
    """Pin: aioquic still checks that the server holds the certificate's key; the transport compares the key."""
    if settings.verify == "pin":
        configuration.verify_mode = ssl.CERT_NONE
        return
    configuration.verify_mode = ssl.CERT_REQUIRED
    if settings.ca is not None:
        configuration.cadata = settings.ca
        return
    system = ssl.get_default_verify_paths()
    if system.cafile is None and system.capath is None:
        raise ConfigError('ca = "system": this host has no trust store. Install ca-certificates, or name a PEM file.')
    configuration.cafile, configuration.capath = system.cafile, system.capath


class AioquicConnection:
    """One aioquic connection behind the EngineConnection seam.

    Datagrams to send wait here, never in aioquic: its queue is unbounded, one datagram too large blocks it for ever,
    and it would put them before stream data."""

    def __init__(self, connection: Any, settings: QuicSettings, *, fast: bool, first_id: bytes | None = None) -> None:
        self._connection = connection
        self._most = settings.max_udp_payload
        self._start = min(settings.start_udp_payload or self._most, self._most)
        self._grows = False
        self._probes: list[tuple[bytes, int]] = []
        self._first_id = first_id
        self._alpn: str | None = None
        self._received: list[bytes] = []
        self._waiting: list[bytes] = []
        self._waiting_cost = 0
        self._starved = False
        self._now = 0.0
        self._closed = False
        self._lost = 0
        self._oversized = 0
        self._standing = StandingQueue()
        # The congestion controller counts in the largest size; packets grow to it step by step.
        connection._max_datagram_size = min(self._most, settings.handshake_udp_payload)
        self._pacer = BurstPacer(connection._max_datagram_size)
        connection._loss._pacer = self._pacer
        connection._local_max_data = SlidingLimit(connection._local_max_data, _MOST_FLOW_WINDOW)
        react_to_queues(connection._loss, self._standing, self._count_losses)
        self._take_datagrams()
        self._fast = FastPath(connection, self._received) if fast else None

    def _count_losses(self, packets: int) -> None:
        self._lost += packets

    def _take_datagrams(self) -> None:
        """Replace the DATAGRAM handler: no event object for each."""
        handlers = getattr(self._connection, _HANDLERS, None)
        if not isinstance(handlers, dict) or not {0x30, 0x31} <= handlers.keys():
            return

        def take(context: Any, frame_type: int, buf: Any) -> None:
            length = buf.pull_uint_var() if frame_type == 0x31 else buf.capacity - buf.tell()
            self._received.append(buf.pull_bytes(length))

        for kind in (0x30, 0x31):
            handlers[kind] = (take, handlers[kind][1])

    @property
    def connection_ids(self) -> Sequence[bytes]:
        own = self._connection.host_cid
        return [own] if self._first_id is None else [self._first_id, own]

    @property
    def peer_address(self) -> SocketAddress:
        address: SocketAddress = self._connection._network_paths[0].addr
        return address

    # Bytes and the clock

    def connect(self, address: SocketAddress, now: Seconds) -> None:
        self._connection.connect(address, now=now)

    def receive(self, data: bytes, segment: int, address: SocketAddress, now: Seconds) -> None:
        at = 0
        while at < len(data):
            if self._fast is not None and self._fast.ready():
                at = self._fast.receive(data, at, segment, address, now)
            if at < len(data):
                self._connection.receive_datagram(data[at : at + segment], address, now=now)
                at += segment

    def received_datagrams(self) -> list[bytes]:
        received = self._received[:]
        self._received.clear()
        return received

    def events(self) -> list[EngineEvent]:
        found: list[EngineEvent] = []
        while (event := self._connection.next_event()) is not None:
            match event:
                case aio.DatagramFrameReceived(data=data):
                    self._received.append(data)
                case aio.StreamDataReceived(data=data, end_stream=end, stream_id=stream):
                    found.append(StreamData(stream, data, end))
                case aio.StreamReset(error_code=code, stream_id=stream):
                    found.append(StreamReset(stream, code))
                case aio.ConnectionIdIssued(connection_id=connection_id):
                    found.append(ConnectionIdIssued(connection_id))
                case aio.ConnectionIdRetired(connection_id=connection_id):
                    found.append(ConnectionIdRetired(connection_id))
                case aio.HandshakeCompleted(alpn_protocol=alpn):
                    self._alpn = alpn or ""
                    self._grows = True
                    # 24 KiB that nothing is written to any more.
                    self._connection._crypto_buffers.clear()
                    found.append(HandshakeDone(self._alpn))
        # aioquic speaks of a close only once it has drained; the session wants to know at once.
        end = self._connection._close_event
        if end is not None and not self._closed:
            self._closed = True
            found.append(Closed(end.error_code, _reason(end)))
        return found

    def transmit(self, now: Seconds) -> list[tuple[list[bytes], SocketAddress]]:
        c = self._connection
        if not c._network_paths:  # a server that has not understood a single packet
            return []
        controller = c._loss._cc
        before = controller.bytes_in_flight
        packets = self._build(now)
        self._pacer.settle(controller.bytes_in_flight - before)
        return packets

    def _build(self, now: Seconds) -> list[tuple[list[bytes], SocketAddress]]:
        c = self._connection
        # Acknowledgements, control frames and streams first.
        packets = self._build_test_of_path(now) if self._tests_path() else []
        packets += _by_address(c.datagrams_to_send(now=now))
        if self._grows:  # behind the last packets of the handshake, which are padded to the full size
            self._grows = False
            self.use_payload(self._start, settled=False)
        if c._close_event is not None:
            return packets
        if self._probes:
            packets += self._build_probes(now)
        if not self._waiting:
            return packets
        waiting, self._waiting, self._waiting_cost = self._waiting, [], 0
        if self._fast is not None and self._fast.ready():
            address = self.peer_address
            built = self._fast.send(waiting, c._max_datagram_size, now)
            if packets and packets[-1][1] == address:
                packets[-1][0].extend(built)
            else:
                packets.append((built, address))
        else:
            c._datagrams_pending.extend(waiting)
            packets += _by_address(c.datagrams_to_send(now=now))
        return packets

    def _tests_path(self) -> bool:
        """A new path is to be asked whether it is one, or its other end is to be answered."""
        path = self._connection._network_paths[0]
        asks = not (path.is_validated or path.local_challenge_sent)
        return self._alpn is not None and bool(path.remote_challenges or asks)

    def _build_test_of_path(self, now: Seconds) -> list[tuple[list[bytes], SocketAddress]]:
        """aioquic pads these packets to the largest size in use, which is the old path's. RFC 9000 section 8.2.1 asks
        for 1200 bytes: a narrower path must not look like none."""
        c = self._connection
        usual, c._max_datagram_size = c._max_datagram_size, LEAST
        packets = _by_address(c.datagrams_to_send(now=now))
        c._max_datagram_size = usual
        return packets

    def _build_probes(self, now: Seconds) -> list[tuple[list[bytes], SocketAddress]]:
        """Each in a packet of its own, in front of the datagrams that wait."""
        c = self._connection
        probes, self._probes = self._probes, []
        packets: list[tuple[list[bytes], SocketAddress]] = []
        for head, size in probes:
            datagram = head.ljust(size - self._overhead(size), b"\0")
            if self._fast is not None and self._fast.ready():
                packets.append((self._fast.send([datagram], size, now, SentProbe), self.peer_address))
            elif not c._datagrams_pending:
                usual, c._max_datagram_size = c._max_datagram_size, size
                c._datagrams_pending.append(datagram)
                packets += _by_address(c.datagrams_to_send(now=now))
                c._datagrams_pending.clear()  # what the window holds back would block what comes after it
                c._max_datagram_size = usual
        return packets

    def timer(self) -> Seconds | None:
        at: Seconds | None = self._connection.get_timer()
        if at is not None and self._starved:
            paced = self._pacer.next_send_time(self._now)
            if paced is not None:
                at = min(at, paced)
        return at

    def handle_timer(self, now: Seconds) -> None:
        self._connection.handle_timer(now=now)

    # Datagrams

    def _overhead(self, length: int) -> int:
        """Bytes around one DATAGRAM of that length alone in a packet (RFC 9000 section 17.3.1, RFC 9221 section 4)."""
        return 1 + len(self._connection._peer_cid.cid) + _PACKET_NUMBER + _TAG + len(frame_header(length))

    def max_datagram(self) -> int:
        c = self._connection
        limit: int | None = c._remote_max_datagram_frame_size
        if not limit or self._alpn is None:
            return 0
        size: int = c._max_datagram_size
        # Peers may count the frame's type and length in their limit.
        return max(0, min(size - self._overhead(size), limit - len(frame_header(limit))))

    def _budget(self, now: Seconds) -> int:
        """Bytes of packets that may leave now, beyond what waits already."""
        c = self._connection
        self._now = now
        if self._alpn is None or c._close_event is not None or c._datagrams_pending:
            return 0
        for stream in c._streams.values():
            if len(stream.sender._pending):  # a RangeSet has no truth value
                return 0
        loss = c._loss
        controller = loss._cc
        if self._standing.blocks(controller.bytes_in_flight, loss._rtt_latest, loss._rtt_smoothed, loss._rtt_min, now):
            return 0
        budget: float = controller.congestion_window - controller.bytes_in_flight
        budget = min(budget, self._pacer.allowance(now))
        path = c._network_paths[0]
        if not path.is_validated:  # RFC 9000 section 8.1
            budget = min(budget, 3 * path.bytes_received - path.bytes_sent)
        return min(int(budget), _MOST_A_TURN) - self._waiting_cost

    def room(self, now: Seconds) -> int:
        budget, largest = self._budget(now), self.max_datagram()
        full = largest + self._overhead(largest)
        room = budget // full * largest
        self._starved = not room
        return max(0, room)

    def send(self, datagrams: Sequence[bytes], now: Seconds) -> int:
        budget, largest = self._budget(now), self.max_datagram()
        overhead = self._overhead(largest)
        taken = spent = 0
        for datagram in datagrams:
            size = len(datagram)
            if size > largest:
                self._oversized += 1  # the path shrank since the caller asked: lost, as in the network
                taken += 1
                continue
            if spent + size + overhead > budget:
                self._starved = True
                break
            spent += size + overhead
            self._waiting.append(datagram)
            taken += 1
        self._waiting_cost += spent
        return taken

    def limit_payload(self, size: int) -> None:
        self._start = min(self._start, max(LEAST, size))
        self.use_payload(min(self.payload, size), settled=False)

    @property
    def payload(self) -> int:
        size: int = self._connection._max_datagram_size
        return size

    @property
    def largest_payload(self) -> int:
        return self._most

    def use_payload(self, size: int, *, settled: bool) -> None:
        self._connection._max_datagram_size = size = max(LEAST, min(size, self._most))
        self._pacer.resize(size)

    def probe(self, head: bytes, size: int) -> None:
        if self._alpn is not None and not self._closed:
            self._probes.append((head, max(LEAST, min(size, self._most))))

    # Streams

    def open_stream(self, *, unidirectional: bool = False) -> int:
        stream: int = self._connection.get_next_available_stream_id(is_unidirectional=unidirectional)
        self._connection.send_stream_data(stream, b"")  # takes the id
        return stream

    def write_stream(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self._connection.send_stream_data(stream, data, end_stream=end)

    def reset_stream(self, stream: int, code: int) -> None:
        self._connection.reset_stream(stream, code)

    def unsent(self, stream: int) -> int:
        known = self._connection._streams.get(stream)
        return 0 if known is None else sum(len(waiting) for waiting in known.sender._pending)

    # The rest

    def ping(self) -> None:
        self._connection.send_ping(0)

    def peer_certificate(self) -> bytes | None:
        tls = getattr(self._connection, "tls", None)  # made with the first packet
        certificate = None if tls is None else tls._peer_certificate
        return None if certificate is None else certificate.public_bytes(Encoding.DER)

    def rtt(self) -> Seconds | None:
        loss = self._connection._loss
        return loss._rtt_smoothed if loss._rtt_initialized else None

    def facts(self) -> Mapping[str, str | int | float]:
        controller = self._connection._loss._cc
        sent = self._connection._packet_number
        return {
            "engine": "aioquic",
            "fast_path": int(self._fast is not None),
            "congestion_controller": self._connection.configuration.congestion_control_algorithm,
            "congestion_window": controller.congestion_window,
            "bytes_in_flight": controller.bytes_in_flight,
            "rtt": self.rtt() or 0.0,
            "packets_sent": sent,
            "packets_lost": self._lost,
            "loss": self._lost / sent if sent else 0.0,
            "oversized": self._oversized,
            "udp_payload": self.payload,
        }

    def close(self, code: int, reason: str) -> None:
        short = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
        self._connection.close(error_code=code, reason_phrase=short)


def _by_address(packets: list[tuple[bytes, SocketAddress]]) -> list[tuple[list[bytes], SocketAddress]]:
    return [([packet for packet, _ in run], address) for address, run in groupby(packets, itemgetter(1))]


def _reason(end: Any) -> str:
    if end.frame_type is None:
        return str(end.reason_phrase)
    if end.reason_phrase == "Idle timeout":
        return "idle timeout"
    return f"QUIC error 0x{end.error_code:x}: {end.reason_phrase or 'no reason given'}"
