"""The server's side of a socket: finds the connection of each packet, and guards the door for new ones."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.engine import QuicEngine, QuicSettings, SocketAddress
from vpnrs_core.quic.budget import Admission, CpuBudget
from vpnrs_core.quic.codes import CLOSE_INTERNAL
from vpnrs_core.quic.connection import QuicConnection
from vpnrs_core.quic.demux import Accepted, Gatehouse, Reply, one_connection
from vpnrs_core.quic.driver import Driver, expect_connection
from vpnrs_core.quic.settings import QuicConfig
from vpnrs_core.quic.sizes import for_path
from vpnrs_core.quic.udp import Received, UdpSocket

log = logging.getLogger("vpnrs.quic")

# What is measured here is less than half of what a stranger costs: reading its packets, its request, the refusal, the
# log's line and the end of its connection come on top, in other rooms (measured, docs/security.md).
_WHOLE_COST = 2.5


class ServerDriver(Driver):
    """A listening socket. `on_connection` is called once a handshake is complete."""

    def __init__(
        self,
        sock: UdpSocket,
        config: QuicConfig,
        engine: QuicEngine,
        settings: QuicSettings,
        spki: bytes,
        on_connection: Callable[[QuicConnection], None],
    ) -> None:
        super().__init__(sock, config)
        self._engine, self._settings, self._spki = engine, settings, spki
        self._on_connection = on_connection
        self._budget = CpuBudget(config.unauthenticated_cpu, self.now())
        self.admission = Admission(
            most=config.max_unauthenticated,
            most_per_source=config.max_unauthenticated_per_source,
            retry_threshold=config.retry_threshold,
        )
        self.gate = Gatehouse(self.admission, os.urandom)
        self._reminders: dict[QuicConnection, int] = {}
        self._given_up = 0
        self._sized: dict[tuple[int, int], QuicSettings] = {}  # an engine parses a key once for each

    def door(self) -> Mapping[str, int]:
        """interfaces.Door."""
        counts = {"waiting": self.admission.total, "never_authenticated": self._given_up}
        return {**counts, **self.gate.answered, **self.gate.dropped}

    def _route(self, received: Received, now: Seconds) -> None:
        data, size = received.data, received.segment
        if len(data) <= size:
            self._route_run(received, data, now)
            return
        # A client may run several connections over one socket, and the kernel joins what looks alike.
        if not data[0] & 0x80 and one_connection(data, size):
            self._route_run(received, data, now)
            return
        start = 0
        owner = self.demux.find(data)
        for at in range(size, len(data), size):
            next_owner = self.demux.find(data[at : at + 32])
            if next_owner is not owner or owner is None:
                self._route_run(received, data[start:at], now)
                start, owner = at, next_owner
        self._route_run(received, data[start:], now)

    def _route_run(self, received: Received, data: bytes, now: Seconds) -> None:
        connection = self.demux.find(data)
        if connection is not None and not connection.unauthenticated:
            self._hand(connection, received, data, now)
            return
        if not self._budget.left(now, new=connection is None):
            self.gate.dropped["no_budget"] += 1
            return
        # The thread's own time: what others on this host do is no stranger's doing.
        begin = time.thread_time()
        if connection is not None:
            self._hand(connection, received, data, now)
        else:
            self._unknown(received, data, now)
        self._budget.spend(_WHOLE_COST * (time.thread_time() - begin))

    def _unknown(self, received: Received, data: bytes, now: Seconds) -> None:
        if self._closing:
            return
        match self.gate.judge(data, received.address, now, only_proven=not self._budget.plenty):
            case Reply(packet=packet):
                self._send_group([packet], received.address, received.local)
            case Accepted() as accepted:
                connection = self._accept(accepted, received.address, min(len(data), received.segment), now)
                try:
                    self._first(connection, received, data, now)
                except Exception as error:
                    connection.abandon(error)

    def _accept(self, accepted: Accepted, address: SocketAddress, size: int, now: Seconds) -> QuicConnection:
        settings = for_path(self._settings, address, size)
        settings = self._sized.setdefault((settings.max_udp_payload, settings.handshake_udp_payload), settings)
        engine = self._engine.server(settings, accepted.original_id, accepted.retry_id)
        expect_connection(self._engine, "server", engine)
        connection = QuicConnection(
            engine,
            self,
            is_client=False,
            server_spki=self._spki,
            deadline=now + self.config.handshake_deadline,
            source=accepted.source,
        )
        self._members.add(connection)
        self.admission.opened(accepted.source)
        for connection_id in engine.connection_ids:
            self.demux.add(connection_id, connection)
        return connection

    def _first(self, connection: QuicConnection, received: Received, data: bytes, now: Seconds) -> None:
        connection.receive(data, received.segment, received.address, received.local, now)
        packets = connection.turn(now)
        if packets:
            self._send(connection, packets)
            connection.arm()
        else:
            # A valid Initial is acknowledged at once: this was something else in its clothes.
            self.gate.dropped["malformed"] += 1
            connection.disarm()
            self.forget(connection)

    def _serve(self, connection: QuicConnection, now: Seconds) -> None:
        if not connection.unauthenticated:
            super()._serve(connection, now)
            return
        begin = time.thread_time()
        super()._serve(connection, now)
        self._budget.spend(_WHOLE_COST * (time.thread_time() - begin))

    def established(self, connection: QuicConnection) -> None:
        try:
            self._on_connection(connection)
        except Exception:
            log.exception("a new connection could not be served; closing it")
            connection.close(CLOSE_INTERNAL, "internal error")

    def admitted(self, connection: QuicConnection) -> None:
        self._uncount(connection)

    def ended(self, connection: QuicConnection) -> None:
        if connection.alpn:  # its address is proven: it may be answered more than it sends
            self._reminders[connection] = 0
        if connection.unauthenticated:
            self._given_up += 1
        self._uncount(connection)

    def _uncount(self, connection: QuicConnection) -> None:
        source, connection.source = connection.source, b""
        if source:
            self.admission.closed(source)

    def _remind(self, connection: QuicConnection) -> None:
        heard = self._reminders.get(connection)
        if heard is None:
            return
        self._reminders[connection] = heard = heard + 1
        if not heard & (heard - 1):  # at 1, 2, 4, 8 …: a chatty peer cannot make us chatty
            self._send(connection, connection.last_packets)

    def _forgotten(self, connection: QuicConnection) -> None:
        self._uncount(connection)
        self._reminders.pop(connection, None)
        self.demux.remove_member(connection)
