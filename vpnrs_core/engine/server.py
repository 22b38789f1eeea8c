"""The server: listens, lets the gate judge, and keeps the host as the sessions need it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vpnrs_core.config.models import Configuration, ServerConfig
from vpnrs_core.engine.codecs import CodecSet
from vpnrs_core.engine.containment import expect
from vpnrs_core.engine.gate import ServerGate
from vpnrs_core.engine.judge import Judge
from vpnrs_core.engine.report import engine_of, link_status, session_status
from vpnrs_core.engine.sessions import Running, ServerSessions
from vpnrs_core.errors import ConfigError, HostError, PluginError
from vpnrs_core.events import ConnectionClosed, ConnectionOpened
from vpnrs_core.interfaces import (
    AddressAllocator,
    Code,
    Connection,
    Contribution,
    Door,
    Expected,
    Listener,
    Network,
    Refuse,
    Sample,
    Session,
    SessionProtocol,
)
from vpnrs_core.pipeline.pipeline import Pipeline, StageSpec
from vpnrs_core.session.session import SessionState

if TYPE_CHECKING:
    from vpnrs_core.engine.instance import Instance


def overlaps(one: Network, other: Network) -> bool:
    """Also for networks of different versions."""
    return one.version == other.version and one.overlaps(other)


FINGERPRINT_KEY = "core/fingerprint_key"
# Seconds that peers may take to hear that the server stops.
STOP_DEADLINE = 3.0
# Seconds that plugins may take then to hear of the last attempts, and the allocator to take leases back: nothing of
# theirs keeps the host from being put back.
PLUGINS_DEADLINE = 0.5


class Server:
    """interfaces of engine.instance.Role."""

    def __init__(self, instance: Instance) -> None:
        assert isinstance(instance.configuration, ServerConfig)
        self._instance = instance
        self._config = instance.configuration
        allocator = instance.selection.allocator
        if allocator is None:
            raise ConfigError(f"{self._config.where}: a server needs an address allocator")
        self._allocator: AddressAllocator = allocator
        self._protocols = self._by_alpn()
        self._serving: set[asyncio.Task[None]] = set()
        self._listener: Listener | None = None
        self._live: ServerSessions | None = None
        self._gate: ServerGate | None = None
        self._tun_mtu = self._config.tun.first_mtu
        self._fitting: asyncio.Task[None] | None = None

    def make_pipeline(self, stages: Sequence[StageSpec]) -> Pipeline:
        return Pipeline(
            "server",
            stages,
            self._instance.drops,
            self._stage_failed,
            isolation=self._config.session.isolation,
            pools=self._allocator.prefixes,
            own_addresses=[address for address, _ in self._allocator.server_addresses],
        )

    async def start(self) -> str:
        instance, config = self._instance, self._config
        needs = instance.needs
        await instance.host.drop_outliving()
        for address in needs.reserve:
            self._allocator.reserve(address)
        await instance.host.configure_tun(instance.tun, self._allocator.server_addresses, config.tun.first_mtu)
        instance.pipeline.set_tun_mtu(config.tun.first_mtu)
        if needs.to_tun:
            await instance.host.set_routes(needs.to_tun, declared=True)
        if config.forwarding.enable or needs.forwarding:
            await self._forward()
        await self._set_gateway()
        self._live = ServerSessions(
            instance.pipeline,
            instance.datapath,
            self._allocator,
            instance.bus,
            instance.reporter,
            config.session.resume_window,
            config.largest_mtu,
            instance.vitals.book,
            auto_mtu=config.tun.auto_mtu,
            on_mtu=self._fit_tun,
        )
        self._gate = self._make_gate(self._live, await self._fingerprint_key())
        listener = await instance.selection.transport.listen(config.listen, tuple(self._protocols), self._on_connection)
        expect(listener, "where", instance.transport_call("listen"), "Listener")
        self._listener = listener
        return self._listener.where

    async def _forward(self) -> None:
        # A plugin may need a family that no client is given addresses of.
        families = {network.version for network in (*self._allocator.prefixes, *self._instance.needs.to_tun)}
        await self._instance.host.enable_forwarding(4 in families, 6 in families)

    def _base(self) -> Contribution:
        """What the configuration itself grants to everyone."""
        session = self._config.session
        return Contribution(routes=session.routes, dns=session.dns, mtu=self._config.largest_mtu)

    async def _set_gateway(self) -> None:
        forwarding = self._config.forwarding
        pool = [network for network in self._allocator.prefixes if network.version == 4 and forwarding.nat44]
        masquerade = list(dict.fromkeys([*pool, *self._instance.needs.masquerade]))
        await self._instance.host.set_gateway(masquerade, forwarding.clamp_mss or forwarding.nat44)

    async def reconfigure(self, configuration: Configuration, changed: frozenset[str]) -> None:
        assert isinstance(configuration, ServerConfig)
        self._config = configuration
        session = configuration.session
        if self._gate is not None and self._live is not None:
            self._gate.change(self._base(), session.max_sessions)
            self._live.table.resume_window = session.resume_window
        self._instance.pipeline.isolation.enabled = session.isolation
        if "forwarding.enable" in changed:
            await self._forward()
        if changed & {"forwarding.nat44", "forwarding.clamp_mss"}:
            await self._set_gateway()

    async def stop(self) -> None:
        if self._gate is not None:
            self._gate.stopping = True
        if self._live is not None:
            await self._live.stop(Refuse(Code.SHUTTING_DOWN, detail="the server stops"), PLUGINS_DEADLINE)
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving, timeout=STOP_DEADLINE)
        if self._gate is not None:
            await self._gate.finished(PLUGINS_DEADLINE)
        if self._live is not None:
            await self._live.released(PLUGINS_DEADLINE)
        if self._listener is not None:
            await self._listener.close()
        if self._fitting is not None:
            self._fitting.cancel()
            await asyncio.gather(self._fitting, return_exceptions=True)

    def sessions(self) -> Sequence[Session]:
        return list(self._live.table) if self._live is not None else []

    def samples(self) -> Iterable[Sample]:
        records = list(self._live.table) if self._live is not None else []
        parked = sum(record.parked_at is not None for record in records)
        for state, count in (("active", len(records) - parked), ("parked", parked)):
            yield Sample("vpnrs_sessions", "gauge", "", "sessions by state", {"state": state}, count)
        limit = self._config.session.max_sessions
        yield Sample("vpnrs_sessions_limit", "gauge", "", "[session] max_sessions", {}, limit)
        for prefix, leased, leasable in self._allocator.usage():
            labels = {"pool": prefix}
            yield Sample("vpnrs_pool_leased", "gauge", "", "addresses in use", labels, leased)
            yield Sample("vpnrs_pool_leasable", "gauge", "", "addresses that can be in use at once", labels, leasable)
        for outcome, count in self._door().items():
            if outcome == "waiting":
                yield Sample("vpnrs_door_waiting", "gauge", "", "connections not authenticated yet", {}, count)
            else:
                help = "what the door did with peers that had not authenticated"
                yield Sample("vpnrs_door", "counter", "", help, {"outcome": outcome}, count)
        expiries = [record.granted.expires for record in records if record.granted.expires is not None]
        if expiries:
            help = "when the first session's credential expires, POSIX time"
            yield Sample("vpnrs_next_expiry_timestamp_seconds", "gauge", "seconds", help, {}, min(expiries))

    def status(self) -> Mapping[str, Any]:
        running = self._live.running.values() if self._live is not None else ()
        return {
            "state": "listening" if self._listener is not None else "starting",
            "engine": engine_of(port for r in running for port in r.links),
            "server": {
                "listen": self._listener.where if self._listener is not None else self._config.listen,
                "pools": [
                    {"prefix": prefix, "leased": leased, "leasable": leasable}
                    for prefix, leased, leasable in self._allocator.usage()
                ],
                "door": {name: n for name, n in self._door().items() if n},
            },
        }

    def session_statuses(self, brief: bool) -> Iterator[dict[str, Any]]:
        running = list(self._live.running.values()) if self._live is not None else []
        return (self._session_status(each, brief) for each in running if each.record.state is not SessionState.ENDED)

    def _door(self) -> Mapping[str, int]:
        listener = self._listener
        return listener.door() if isinstance(listener, Door) else {}

    def _session_status(self, running: Running, brief: bool) -> dict[str, Any]:
        vitals, now = self._instance.vitals, self._instance.loop.time()
        links = [
            link_status(port, link.notify, self._config.transport, vitals.book.lives.get(port), now, brief=brief)
            for port, link in running.links.items()
        ]
        rates = vitals.rates(running.peer, running.peer.counters, history=not brief)
        return session_status(running.record, running.peer, now - running.opened_at, links, rates)

    def expected(self) -> Expected:
        """The server's own addresses, one client, and that what is behind this host can be reached."""
        active = [r.record for r in self._live.running.values() if r.links] if self._live is not None else []
        leases = tuple(active[0].leases) if active else ()
        pools = self._allocator.prefixes
        beyond = [r for r in self._config.session.routes if not any(overlaps(r, pool) for pool in pools)]
        return Expected(
            own=self._allocator.server_addresses,
            inside=leases,
            echo=leases,
            forwards=frozenset(route.version for route in beyond),
        )

    # The TUN's MTU

    def _fit_tun(self) -> None:
        """It is the largest session's; the last one's is kept."""
        if self._live is None or not self._live.auto_mtu or self._instance.stopping:
            return
        self._tun_mtu = max((r.record.granted.mtu for r in self._live.running.values()), default=self._tun_mtu)
        if self._tun_mtu != self._instance.pipeline.tun_mtu and (self._fitting is None or self._fitting.done()):
            self._fitting = self._instance.loop.create_task(self._set_tun_mtu())

    async def _set_tun_mtu(self) -> None:
        instance = self._instance
        try:
            while self._tun_mtu != instance.pipeline.tun_mtu:
                mtu = self._tun_mtu
                await instance.host.set_mtu(mtu)
                instance.pipeline.set_tun_mtu(mtu)
        except HostError as error:
            instance.reporter.report("core", "set_mtu", error, instance.loop.time())

    # Connections

    def _on_connection(self, connection: Connection) -> None:
        protocol = self._protocols.get(connection.alpn)
        if protocol is None or self._gate is None or self._gate.stopping:
            connection.close(0, "not served")
            return
        task = self._instance.loop.create_task(self._serve(connection, protocol, self._gate))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, connection: Connection, protocol: SessionProtocol, gate: ServerGate) -> None:
        """What a protocol raises closes this connection only."""
        bus, source = self._instance.bus, connection.path.remote
        book = self._instance.vitals.book
        book.arrived(connection, self._instance.loop.time())
        bus.emit(ConnectionOpened(source=source, transport=self._config.transport, alpn=connection.alpn))
        reason = "ended"
        try:
            await protocol.serve(connection, gate)
        except Exception as exc:
            reason = type(exc).__name__
            self._instance.reporter.report(protocol.NAME, "serve", exc, self._instance.loop.time())
            connection.close(1, "internal error")
        finally:
            book.left(connection)
            bus.emit(ConnectionClosed(source=source, reason=reason))

    # Set-up

    def _by_alpn(self) -> dict[str, SessionProtocol]:
        """The server's order decides: the built-ins, vpnrs/1 first, then as plugins were loaded."""
        entries = self._instance.plugins.registry.all("session_protocols")
        lacks = self._instance.selection.transport.LACKS
        found = {alpn: e.object for e in entries if not e.object.WANTS & lacks for alpn in e.object.ALPNS}
        if not found:
            raise PluginError(f"no session protocol fits transport {self._config.transport!r}")
        return found

    def _make_gate(self, live: ServerSessions, key: bytes) -> ServerGate:
        instance, config = self._instance, self._config
        registry = instance.plugins.registry
        methods = {entry.name: entry for entry in registry.all("authenticators") if entry.name in config.auth.methods}
        judge = Judge(
            methods, registry.all("admission_checks"), registry.all("grant_contributors"), key, instance.reporter
        )
        return ServerGate(
            judge,
            live,
            self._allocator,
            CodecSet(
                registry.all("datagram_codecs"), instance.tun.offloads, instance.datapath, config.tun.mtu_raise_interval
            ),
            self._base(),
            instance.bus,
            instance.reporter,
            config.session.max_sessions,
            config.session.max_sessions_per_principal,
        )

    async def _fingerprint_key(self) -> bytes:
        """Kept in the store, so that gateways that share one name the same credential alike."""
        store = self._instance.selection.store
        await store.add(FINGERPRINT_KEY, os.urandom(32))
        value = await store.get(FINGERPRINT_KEY)
        if value is None:
            raise PluginError(f"store {store.NAME!r} lost the key that credentials are fingerprinted with")
        return value.data

    def _stage_failed(self, plugin: str, where: str, exc: BaseException) -> None:
        self._instance.reporter.report(plugin, where, exc, self._instance.loop.time())
