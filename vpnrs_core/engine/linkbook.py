"""What is known of the links that carry sessions: since when, the handshake's time, round trips, moves, losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vpnrs_core.counters import HistogramMetric
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.interfaces import Connection, PathFacts, Sample

HANDSHAKE_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
RTT_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# A connection's own figures that only grow, by the name of the metric that sums them up.
_GROWING = {"packets_sent": "vpnrs_quic_packets_sent", "packets_lost": "vpnrs_quic_packets_lost"}
_HELP = {
    "vpnrs_quic_packets_sent": "QUIC packets sent on connections that carried a session",
    "vpnrs_quic_packets_lost": "QUIC packets of these that were declared lost",
}


@dataclass(eq=False)
class LinkLife:
    """One link. `since` is the loop's time at which it began to carry its session, `handshake` the seconds that this
    took, None: nobody measured it. `migrations`: how often the path became another."""

    since: float
    handshake: float | None
    path: tuple[str, str]
    migrations: int = 0


class LinkBook:
    """Kept up to date by whoever opens and closes links; read when somebody asks, so that packets cost nothing."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.lives: dict[LinkPort, LinkLife] = {}
        self.migrations = 0
        self._now = now
        self._arrived: dict[Connection, float] = {}
        self._gone: Counter[str] = Counter()
        self._handshake = HistogramMetric(
            "vpnrs_handshake_seconds",
            "server: from a connection's arrival to its session; client: from dialling to it",
            HANDSHAKE_BOUNDS,
        )
        self._rtt = HistogramMetric("vpnrs_rtt_seconds", "round trips of the heartbeats of all links", RTT_BOUNDS)

    def arrived(self, connection: Connection, at: float) -> None:
        """Its handshake began at `at`: a server has the connection, or a client began to dial it."""
        self._arrived[connection] = at

    def left(self, connection: Connection) -> None:
        self._arrived.pop(connection, None)

    def up(self, port: LinkPort) -> LinkLife:
        """The link carries its session from now on."""
        now, path = self._now(), port.connection.path
        began = self._arrived.pop(port.connection, None)
        life = LinkLife(now, None if began is None else now - began, (path.local, path.remote))
        if life.handshake is not None:
            self._handshake.observe(life.handshake)
        self.lives[port] = life
        return life

    def down(self, port: LinkPort) -> None:
        """The link is gone: what its connection counted is kept."""
        if self.lives.pop(port, None) is None:
            return
        if all(other.connection is not port.connection for other in self.lives):
            self._add(self._gone, port.connection)

    def measured(self, rtt: float) -> None:
        self._rtt.observe(rtt)

    def moved(self, port: LinkPort, path: PathFacts) -> None:
        """The path's facts are new; a migration is only what changes an address."""
        life = self.lives.get(port)
        if life is not None and life.path != (path.local, path.remote):
            life.path = (path.local, path.remote)
            life.migrations += 1
            self.migrations += 1

    def totals(self) -> Counter[str]:
        """What all connections of links counted since the start, by metric."""
        total = Counter(self._gone)
        for connection in {id(port.connection): port.connection for port in self.lives}.values():
            self._add(total, connection)
        return total

    def samples(self) -> Iterable[Sample]:
        yield from self._handshake.samples()
        yield from self._rtt.samples()
        yield Sample("vpnrs_links", "gauge", "", "links that carry a session", {}, len(self.lives))
        yield Sample("vpnrs_migrations", "counter", "", "changes of a link's path", {}, self.migrations)
        totals = self.totals()
        for name, help in _HELP.items():
            yield Sample(name, "counter", "", help, {}, totals[name])

    @staticmethod
    def _add(total: Counter[str], connection: Connection) -> None:
        facts = connection.facts()
        for fact, name in _GROWING.items():
            value = facts.get(fact, 0)
            if isinstance(value, int | float):
                total[name] += int(value)
