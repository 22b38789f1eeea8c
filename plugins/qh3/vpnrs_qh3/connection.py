"""One qh3 connection behind the EngineConnection seam: by public calls, and once the handshake is done by its core."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from qh3.quic import events as qh3
from qh3.quic.connection import QuicConnectionError

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.engine import (
    EngineEvent,
    HandshakeDone,
    QuicSettings,
    SocketAddress,
)
from vpnrs_qh3.first_flight import FirstFlight
from vpnrs_qh3.keys import KeyLife
from vpnrs_qh3.native import NativeEvents, ended, told
from vpnrs_qh3.packets import by_address, plain
from vpnrs_qh3.window import MOST_UNCERTAIN, Breath, Rest, Uncertain

log = logging.getLogger("vpnrs.quic")

# qh3's only one, with HyStart++ (RFC 9438, RFC 9406). Stream bytes obey its window, datagrams as far as window.py says.
CONTROLLER = "cubic"

_TAG = 16
# qh3 writes two bytes of packet number; the RFC allows four, and a packet that did not fit would block the connection.
_PACKET_NUMBER = 4
_FRAME = 3
# Type, stream id, offset and length, beyond a DATAGRAM's.
_STREAM_FRAME = 16
_LONGEST_ID = 20
_LONGEST_REASON = 200
# Bytes of datagrams a turn, four super-packets: what a turn costs besides them is shared, and sparse flows wait for two
# milliseconds at most at a gigabit.
MOST_A_TURN = 256 << 10
# The same while the window is full, and by public calls, which do not tell: where the path drops most of a burst,
# stream bytes that wait to be sent again would come behind the next ones.
_MOST_BEYOND = 128 << 10
# Behind datagrams that wait already: a super-packet as it leaves, but for the very largest, which are cut. Room for
# those too (72,000) was no faster.
_ROOM_FOR_MORE = 65_000
# Seconds without a packet after which a core that raises is given up.
_LONGEST_STUCK = 5.0
# qh3's pacing deadlines are microseconds away. They bear on stream bytes only, also on lost ones, of which nobody is
# told: looking later than this delays them by seconds.
_TIMER_GRANULARITY = 0.001


class Qh3Connection:
    """Datagrams to send wait here until packets are built, never in qh3: its queue is unbounded, one datagram too large
    makes it raise for ever, and it would put them before stream data."""

    def __init__(self, connection: Any, settings: QuicSettings, *, direct: bool, first_id: bytes | None = None) -> None:
        self._connection = connection
        self._first_id = first_id
        self._direct = direct
        self._core: Any = None  # driven directly once the handshake is done
        self._native = NativeEvents(connection)
        self._alpn: str | None = None
        self._received: list[bytes] = []
        self._waiting: list[bytes] = []
        self._waiting_cost = 0
        self._address: SocketAddress | None = None
        self._mtu: int = connection.configuration.max_datagram_size  # the core's own limit
        self._payload = min(settings.start_udp_payload or self._mtu, self._mtu) if direct else self._mtu
        self._probes: list[tuple[bytes, int]] = []
        self._backlog: deque[tuple[int, bytes, bool]] = deque()  # stream data that the core has not been given yet
        self._overhead = 1 + _LONGEST_ID + _PACKET_NUMBER + _TAG + _FRAME
        self._largest = 0
        self._closed = False
        self._oversized = 0
        self._packets = 0
        self._keys = KeyLife(connection)
        self._pings = 0
        self._rtt: Seconds = 0.0
        self._now: Seconds = 0.0
        self._first_flight = FirstFlight() if direct and settings.is_client else None
        self._uncertain = Uncertain()
        self._breath = Breath()
        self._rest = Rest()
        self._stream_waits = False
        self._stuck_since: Seconds | None = None
        self._stirred = False  # the core has heard of something that may have changed the path

    @property
    def connection_ids(self) -> Sequence[bytes]:
        own: bytes = self._connection.host_cid
        return [own] if self._first_id is None else [self._first_id, own]

    @property
    def peer_address(self) -> SocketAddress:
        assert self._address is not None, "nothing has been received"
        return self._address

    # Bytes and the clock

    def connect(self, address: SocketAddress, now: Seconds) -> None:
        self._address = address
        self._connection.connect(plain(address), now)

    def receive(self, data: bytes, segment: int, address: SocketAddress, now: Seconds) -> None:
        address = plain(address)
        core = self._core
        if core is None:
            if self._first_flight is not None:
                self._first_flight.heard()
            if not self._direct or self._address is None:
                self._address = address
            for at in range(0, len(data), segment):
                self._connection.receive_datagram(data[at : at + segment], address, now)
            return
        self._stirred = True
        if len(data) > segment:
            core.receive_gro_buffer(data, segment, address, now)
        else:
            core.receive_datagram(data, address, now)

    def received_datagrams(self) -> list[bytes]:
        received, self._received = self._received, []
        return received

    def events(self) -> list[EngineEvent]:
        found: list[EngineEvent] = []
        if self._core is not None:
            if self._core.has_events:
                self._native.drain(self._received, found)
            if self._stirred:
                self._look()
        else:
            while (event := self._connection.next_event()) is not None:
                self._take(event, found)
        end = self._native.end or (self._connection._close_event if self._direct else None)
        if end is not None and not self._closed:
            # qh3 speaks of a close only once it has drained; the session wants to know at once.
            self._closed = True
            found.append(ended(end))
        return found

    def _take(self, event: Any, found: list[EngineEvent]) -> None:
        """An event of qh3's own wrapper, during the handshake, or always without the direct way."""
        match event:
            case qh3.DatagramFrameReceived(data=data):
                self._received.append(data)
            case qh3.ConnectionTerminated() if not self._closed:
                self._closed = True
                found.append(ended(event))
            case qh3.HandshakeCompleted(alpn_protocol=alpn):
                self._established(alpn or "")
                found.append(HandshakeDone(alpn or ""))
            case _:
                found += told(event)

    def _established(self, alpn: str) -> None:
        self._alpn = alpn
        if self._direct:
            self._core = self._connection._core
            peer_id = self._connection._tls.remote_initial_source_connection_id
            self._overhead += len(peer_id) - _LONGEST_ID
            self._look()
        self._size()

    def _look(self) -> None:
        """Where the peer is now, and how large packets may be."""
        self._stirred = False
        _, _, address, _, _, mtu = self._core.active_path
        self._address = address
        if mtu != self._mtu:
            self._mtu = mtu
            self._payload = min(self._payload, mtu)
            self._size()

    def _size(self) -> None:
        self._largest = max(0, min(self._payload - self._overhead, self._accepted()))

    def _accepted(self) -> int:
        """The largest datagram that the peer takes, whatever the path carries. qh3 raises for one that is larger."""
        limit = self._connection._remote_max_datagram_frame_size if self._direct else self._mtu
        # Peers may count the frame's type and length in their limit.
        return max(0, limit - 5) if limit else 0

    def transmit(self, now: Seconds) -> list[tuple[list[bytes], SocketAddress]]:
        self._now = now
        core = self._core
        if core is None:
            return self._transmit_early(now)
        packets = self._feed(core, now) if self._backlog else []
        if self._probes:
            packets += self._build_probes(core, now)
        if self._waiting:
            if self._breath.due(self._rtt, now) or core.get_send_buffer_size():
                packets += self._build(core, now)
            waiting, self._waiting, self._waiting_cost = self._waiting, [], 0
            deque(map(core.send_datagram, waiting), maxlen=0)
        packets += self._build(core, now)
        return self._leaving(packets)

    def _leaving(self, packets: list[Any]) -> list[tuple[list[bytes], SocketAddress]]:
        """The packets, counted, as the driver takes them."""
        if not packets:
            return []
        found = by_address(packets)
        self._count(len(packets))
        self._uncertain.sent(len(packets), sum([sum(map(len, datas)) for datas, _ in found]))
        return found

    def _count(self, packets: int) -> None:
        self._packets += packets
        if self._packets >= self._keys.update_at:
            self._keys.update(self._packets)

    def _build(self, core: Any, now: Seconds) -> list[Any]:
        packets: list[Any] = []
        self._poll(core, packets, now)
        if core.bytes_in_flight < core.congestion_window:
            self._breath.taken(now)
        if self._stream_waits and not core.get_send_buffer_size():
            self._stream_waits = False
            self._breath.stream_left(now)
        return packets

    def _build_probes(self, core: Any, now: Seconds) -> list[Any]:
        """Each in a packet of its own; one that no longer fits would make the core raise for ever."""
        packets = self._build(core, now)
        probes, self._probes = self._probes, []
        most = min(self._mtu - self._overhead, self._accepted())
        for head, size in probes:
            core.send_datagram(head.ljust(min(size - self._overhead, most), b"\0"))
            packets += self._build(core, now)
        return packets

    def _poll(self, core: Any, packets: list[Any], now: Seconds) -> None:
        """Append what the core has to send. It raises where it should wait, as before the peer's address is validated,
        and goes on when it is asked again, or after the peer's next packet."""
        polled = iter(partial(core.poll_transmit, now), None)
        try:
            packets.extend(polled)
        except RuntimeError:
            try:
                packets.extend(polled)
            except RuntimeError as error:
                log.debug("building packets: %s", error)
                self._stuck_since = self._stuck_since or now
                if now - self._stuck_since > _LONGEST_STUCK:
                    raise
                return
        self._stuck_since = None

    def _transmit_early(self, now: Seconds) -> list[tuple[list[bytes], SocketAddress]]:
        """Before the handshake is done, and always without the direct way."""
        c = self._connection
        packets: list[Any] = []
        if self._direct:
            if c._core is not None:
                self._poll(c._core, packets, now)
            if self._first_flight is not None:
                again = self._first_flight.again()
                self._first_flight.sent(packets, now)
                packets += again
            return by_address(packets)
        try:
            packets += c.datagrams_to_send(now)
            if self._waiting:
                waiting, self._waiting, self._waiting_cost = self._waiting, [], 0
                for datagram in waiting:
                    c.send_datagram_frame(datagram)
                packets += c.datagrams_to_send(now)
        except QuicConnectionError as error:
            log.debug("building packets: %s", error)
        if packets:
            self._address = packets[-1][1]
            self._count(len(packets))
        return by_address(packets)

    def timer(self) -> Seconds | None:
        core = self._core
        at: Seconds | None
        if core is None:
            at = self._connection.get_timer()
            return at if self._first_flight is None else self._first_flight.timer(at)
        timer = core.get_timer()
        if timer is None:
            return None
        at = float(timer[1])
        return max(at, self._now + _TIMER_GRANULARITY) if timer[0] == "pacing" else at

    def handle_timer(self, now: Seconds) -> None:
        self._stirred = True
        if self._core is None:
            if self._first_flight is None or not self._first_flight.takes(now):
                self._connection.handle_timer(now)
        else:
            self._core.handle_timer(now)

    # Datagrams

    def max_datagram(self) -> int:
        return self._largest

    def _budget(self, now: Seconds) -> int:
        """Bytes of packets that may leave now, beyond what waits already."""
        if self._alpn is None or self._closed:
            return 0
        core = self._core
        if core is None:
            if self._connection.get_send_buffer_size() or self._rest.due(self._connection.get_timer(), now):
                return 0
            return _MOST_BEYOND - self._waiting_cost
        if core.get_send_buffer_size() or self._backlog:
            return 0
        in_flight = core.bytes_in_flight
        if in_flight >= core.congestion_window:
            self._rtt = core.smoothed_rtt or 0.0
            # Acknowledgements are on their way: they end either wait.
            if self._breath.due(self._rtt, now) or self._uncertain.count(in_flight) > MOST_UNCERTAIN:
                return 0
            return _MOST_BEYOND - self._waiting_cost
        return MOST_A_TURN - self._waiting_cost

    def room(self, now: Seconds) -> int:
        budget = self._budget(now)
        if self._waiting and budget < _ROOM_FOR_MORE:
            return 0  # a super-packet would be cut for it, and what waits leaves in this turn
        return max(0, budget // (self._largest + self._overhead) * self._largest)

    def send(self, datagrams: Sequence[bytes], now: Seconds) -> int:
        budget, largest, overhead = self._budget(now), self._largest, self._overhead
        sizes = list(map(len, datagrams))
        total = sum(sizes) + overhead * len(sizes)
        if total <= budget and sizes and max(sizes) <= largest:
            self._waiting += datagrams
            self._waiting_cost += total
            return len(datagrams)
        taken = spent = 0
        for datagram in datagrams:
            size = len(datagram)
            if size > largest:
                self._oversized += 1  # the path shrank since the caller asked: lost, as in the network
                taken += 1
                continue
            if spent + size + overhead > budget:
                break
            spent += size + overhead
            self._waiting.append(datagram)
            taken += 1
        self._waiting_cost += spent
        return taken

    def limit_payload(self, size: int) -> None:
        """As if the peer had announced the limit: qh3 then builds smaller packets, stream data sent again included."""
        size = max(1200, size)
        if size >= self._mtu:
            return
        tls = self._connection._tls if self._direct else None
        if tls is not None and tls.remote_transport_parameters is not None:
            tls.remote_transport_parameters = replace(tls.remote_transport_parameters, max_udp_payload_size=size)
            self._connection._drain_tls()
        self._mtu = size
        self._payload = min(self._payload, size)
        self._size()

    @property
    def payload(self) -> int:
        payload: int = self._payload
        return payload

    @property
    def largest_payload(self) -> int:
        return self._mtu if self._core is None else max(1200, min(self._mtu, self._accepted() + self._overhead))

    def use_payload(self, size: int, *, settled: bool) -> None:
        self._payload = max(1200, min(size, self._mtu))
        self._size()
        # Only the core itself keeps acknowledgements that share a packet, and streams, below the limit.
        if settled and self._payload < self._mtu:
            self.limit_payload(self._payload)

    def probe(self, head: bytes, size: int) -> None:
        if self._core is not None and not self._closed and len(head) <= self._accepted():
            self._probes.append((head, size))

    # Streams

    def open_stream(self, *, unidirectional: bool = False) -> int:
        stream: int = self._connection.get_next_available_stream_id(is_unidirectional=unidirectional)
        self._connection.send_stream_data(stream, b"")  # takes the id
        return stream

    def write_stream(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self._stream_waits = True
        if self._core is None or (self._payload >= self._mtu and not self._backlog):
            self._connection.send_stream_data(stream, data, end)
            return
        step = self._payload - self._overhead - _STREAM_FRAME
        self._backlog += [
            (stream, data[at : at + step], end and at + step >= len(data)) for at in range(0, max(1, len(data)), step)
        ]

    def _feed(self, core: Any, now: Seconds) -> list[Any]:
        """Stream data to the core, which fills packets up to its own limit. While the path may carry less, what it has
        been given must leave before it is given more."""
        packets = self._build(core, now)
        while self._backlog and (self._payload >= self._mtu or not core.get_send_buffer_size()):
            self._connection.send_stream_data(*self._backlog.popleft())
            packets += self._build(core, now)
        return packets

    def reset_stream(self, stream: int, code: int) -> None:
        self._backlog = deque(waiting for waiting in self._backlog if waiting[0] != stream)
        self._connection.reset_stream(stream, code)

    def unsent(self, stream: int) -> int:
        unsent: int = self._connection.get_send_buffer_size(stream)
        return unsent + sum(len(data) for number, data, _ in self._backlog if number == stream)

    # The rest

    def ping(self) -> None:
        self._pings += 1
        self._connection.send_ping(self._pings)

    def peer_certificate(self) -> bytes | None:
        certificate = self._connection.get_peercert()
        return None if certificate is None else certificate.public_bytes()

    def rtt(self) -> Seconds | None:
        rtt: Seconds | None = self._core.smoothed_rtt if self._core is not None else None
        return rtt

    def facts(self) -> Mapping[str, str | int | float]:
        facts: dict[str, str | int | float] = {
            "engine": "qh3",
            "congestion_controller": CONTROLLER,
            "direct": int(self._core is not None),
            "rtt": self.rtt() or 0.0,
            "oversized": self._oversized,
            "udp_payload": self._payload,
        }
        core = self._core
        if core is not None:
            facts["congestion_window"] = core.congestion_window
            facts["bytes_in_flight"] = core.bytes_in_flight
            facts["packets_sent"] = self._packets
            facts["packets_lost"] = core.loss_total
            facts["loss"] = core.loss_total / self._packets if self._packets else 0.0
        return facts

    def close(self, code: int, reason: str) -> None:
        short = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
        self._connection.close(error_code=code, reason_phrase=short)
