"""The client's session across connections: its place in the pipeline, and the host configured as its grant says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import cached_property
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from vpnrs_core.config.models import ClientConfig
from vpnrs_core.engine.codecs import CodecSet
from vpnrs_core.engine.containment import describe
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.errors import HostError, VpnrsError
from vpnrs_core.events import MtuChanged, PathChanged
from vpnrs_core.interfaces import (
    Connection,
    Contribution,
    Granted,
    Lane,
    Lease,
    LinkControl,
    Network,
    Offer,
    PathFacts,
    Principal,
    Refuse,
    Seconds,
    Wrapper,
)
from vpnrs_core.pipeline.pipeline import Peer
from vpnrs_core.session.grants import within
from vpnrs_core.session.leases import LeaseHolder
from vpnrs_core.session.session import SessionRecord
from vpnrs_core.wire.codepoints import CLOSE_DEAD

if TYPE_CHECKING:
    from vpnrs_core.engine.instance import Instance

log = logging.getLogger("vpnrs.client")


# Seconds that the path may take to be known before the host is configured all the same.
PATIENCE = 0.25


class Tunnel:
    """What outlives a connection: while the client reconnects, addresses and routes stay, and packets wait in the
    session's queue as long as its bounds allow."""

    def __init__(self, instance: Instance) -> None:
        assert isinstance(instance.configuration, ClientConfig)
        self._instance = instance
        self._config = instance.configuration
        self._wrappers: dict[str, Wrapper] = {}
        self._configured = False
        self._warned = ""
        self._turn = asyncio.Lock()
        self.record: SessionRecord | None = None
        self.peer: Peer | None = None
        self.opened_at = 0.0
        self.routes: tuple[Network, ...] = ()

    @cached_property
    def _codecs(self) -> CodecSet:
        """Made when the TUN and the datapath are there."""
        instance = self._instance
        return CodecSet(
            instance.plugins.registry.all("datagram_codecs"),
            instance.tun.offloads,
            instance.datapath,
            self._config.tun.mtu_raise_interval,
        )

    def offer(self) -> Offer:
        mtu = self._config.tun.mtu
        return Offer(self._codecs.names, self._codecs.offloads, None if isinstance(mtu, str) else mtu)

    def link(self, connection: Connection, lane: Lane, granted: Granted, control: LinkControl) -> LinkPort:
        """A link with the codecs that the server accepted."""
        if self.record is None or self.record.id != granted.session:
            self._wrappers = {}
        return self._codecs.link(
            connection, lane, granted.contexts, granted.peer_offloads, self._wrappers, send_message=control.message
        )

    async def apply(self, granted: Granted, port: LinkPort) -> Peer:
        """Put a grant in force, on the host and in the pipeline. Raises HostError, PluginError."""
        async with self._turn:
            mtu = self._mtu(granted, port)
            instance, host = self._instance, self._instance.host
            addresses = list(granted.addresses)
            self.routes = self._wanted_routes(granted)
            first = not self._configured
            if not first:
                await host.change_addresses(addresses)
                await host.set_mtu(mtu)
            else:
                await host.configure_tun(instance.tun, addresses, mtu)
                self._configured = True
                if instance.needs.forwarding:
                    await host.enable_forwarding(True, True)
                await host.set_gateway(instance.needs.masquerade, False)
            # Later the host may have come to a network that a route overlaps: that is no reason to end the tunnel.
            await host.set_routes(self.routes, self.underlay(granted), strict=first)
            await self._set_dns(granted)
            instance.pipeline.set_tun_mtu(mtu)
            return self._place(granted, mtu)

    async def reconfigure(self, config: ClientConfig) -> None:
        """Other routes, another use of the DNS. Raises HostError, and goes on as before."""
        async with self._turn:
            before, self._config = self._config, config
            if self.record is None:
                return
            granted = self.record.granted
            try:
                routes = self._wanted_routes(granted)
                await self._instance.host.set_routes(routes, self.underlay(granted))
                self.routes = routes
                await self._set_dns(granted)
            except HostError:
                self._config = before
                raise

    async def refit(self, granted: Granted, port: LinkPort) -> int:
        """The path carries more, or less, than was known → the MTU in force. Raises HostError."""
        async with self._turn:
            mtu = self._mtu(granted, port)
            if self._configured and self.peer is not None and mtu != self._instance.pipeline.tun_mtu:
                await self._instance.host.set_mtu(mtu)
                self._instance.pipeline.set_tun_mtu(mtu)
                self._place(granted, mtu)
            return mtu

    def _mtu(self, granted: Granted, port: LinkPort) -> int:
        """The server's is a maximum, by what it knows of its own direction; ours may carry less."""
        if not self._config.tun.auto_mtu:
            return min(granted.mtu, self._config.tun.first_mtu)
        return within(port.inner_mtu(), granted.mtu, [address for address, _ in granted.addresses])

    def close(self, reason: str) -> None:
        """The session is over for good."""
        if self.peer is not None and self.record is not None:
            self._instance.pipeline.close(self.peer, reason)
        self.peer = self.record = None

    def _place(self, granted: Granted, mtu: int) -> Peer:
        """The same session's peer with its new grant, or a new one."""
        if self.record is not None and self.peer is not None and self.record.id == granted.session:
            self.record.granted = replace(granted, mtu=mtu)
            self.record.holder.replace([Lease(address) for address, _ in granted.addresses])
            self.record.facts = granted.facts
            self._instance.pipeline.change(self.peer, mtu=mtu, down=granted.up)
            return self.peer
        self.close("replaced by another session")
        self.record = self._record(replace(granted, mtu=mtu))
        # Each end paces what it sends: the server its down, we the up that it would police.
        self.peer = self._instance.pipeline.open(self.record, mtu=mtu, down=granted.up)
        self.opened_at = self._instance.loop.time()
        return self.peer

    def _record(self, granted: Granted) -> SessionRecord:
        holder = LeaseHolder(granted.session, [Lease(address) for address, _ in granted.addresses])
        return SessionRecord(
            granted.session,
            Principal(granted.principal, granted.expires),
            holder,
            granted,
            on_end=self._end,
            on_change=self._change,
            facts=granted.facts,
            counters=lambda: {} if self.peer is None else self.peer.counters.as_dict(),
        )

    def _end(self, record: SessionRecord, refuse: Refuse) -> None:
        self._instance.loop.call_soon(self._instance.stop, f"a plugin ended the session: {refuse.detail}")

    def _change(self, record: SessionRecord, contribution: Contribution) -> None:
        self._instance.reporter.report(
            "core", "session.change", "only the server changes a grant", self._instance.loop.time()
        )

    def _wanted_routes(self, granted: Granted) -> tuple[Network, ...]:
        """Ours, those that plugins need, and the server's if we accept them, and its DNS servers; only of families that
        we have an address of."""
        families = {address.version for address, _ in granted.addresses}
        pushed = granted.routes if self._config.accept_routes else ()
        wanted = (*self._config.routes, *self._instance.needs.to_tun, *pushed)
        routes = [network for network in wanted if network.version in families]
        covered = [
            *routes,
            *self.underlay(granted),
            *(ip_network((address, length), strict=False) for address, length in granted.addresses),
        ]
        for server in granted.dns if self._config.accept_dns else ():
            if server.version in families and not any(server in network for network in covered):
                routes.append(ip_network(server))
        return tuple(dict.fromkeys(routes))

    async def refresh(self) -> None:
        """The host's network has changed: hold addresses, routes and pins to it."""
        async with self._turn:
            await self._instance.host.refresh()

    async def underlay_changed(self) -> None:
        """The transport is about to dial somewhere new."""
        async with self._turn:
            if self._configured and self.record is not None:
                await self._instance.host.set_routes(self.routes, self.underlay(self.record.granted), strict=False)

    async def _set_dns(self, granted: Granted) -> None:
        families = {address.version for address, _ in granted.addresses}
        accepted = granted.dns if self._config.accept_dns else ()
        servers = [server for server in accepted if server.version in families]
        warning = await self._instance.host.set_dns(servers, self._config.dns_domains)
        if warning and warning != self._warned:
            self._warned = warning
            log.warning("%s", warning)

    def underlay(self, granted: Granted | None = None) -> list[Network]:
        """What must never be routed into the tunnel."""
        if granted is None and self.record is not None:
            granted = self.record.granted
        named = [*self._instance.selection.transport.underlay(), *(granted.underlay if granted is not None else ())]
        # A scope (fe80::1%eth0) says which link an address is on; a route is about the address alone.
        return [ip_network(entry.partition("%")[0]) if isinstance(entry, str) else entry for entry in named]


class ClientSideLink:
    """interfaces.ClientLink: one connection's share of the tunnel. Grants are applied one after the other; what cannot
    be applied ends the instance, because a tunnel that is only half there must not be taken for one."""

    def __init__(self, instance: Instance, tunnel: Tunnel, connection: Connection) -> None:
        self._instance = instance
        self._tunnel = tunnel
        self._connection = connection
        self._tasks: set[asyncio.Task[None]] = set()
        self.up = asyncio.Event()
        self._path_known = asyncio.Event()
        self.error: VpnrsError | None = None
        self.latest: Granted | None = None
        self.port: LinkPort | None = None
        self.control: LinkControl | None = None
        self.peer: Peer | None = None
        self.on_error: Callable[[], object] = _nothing

    def granted(self, granted: Granted, lane: Lane, control: LinkControl) -> None:
        self.latest, self.control = granted, control
        self.port = self._tunnel.link(self._connection, lane, granted, control)
        self._path_known.clear()
        probing = self.port.start_probing(self._resized)
        if not probing or not self._instance.configuration.tun.auto_mtu:
            self._path_known.set()
        self._apply(granted)

    def grant_changed(self, granted: Granted) -> None:
        before, self.latest = self.latest, granted
        self._judge_path()
        # While the first grant waits for the path to be known, it is the latest that will be applied.
        if before is not None and before == replace(granted, mtu=before.mtu):
            if self.peer is not None:
                self._spawn(self._refitted())
        else:
            self._apply(granted)

    def received(self, payloads: Sequence[bytes]) -> None:
        if self.port is None:
            return
        if self.peer is not None:
            self._instance.datapath.received(self.peer, self.port, payloads)
        elif self.port.prober is not None:
            self.port.prober.sift(payloads)  # the host is not configured yet; what the path carries can be said

    def writable(self) -> None:
        if self.peer is not None and self.port is not None:
            self._instance.datapath.writable(self.peer, self.port)

    def ext(self, codec: str, body: bytes) -> None:
        if self.port is not None:
            self.port.heard(codec, body)

    def path_changed(self, path: PathFacts) -> None:
        if self.port is not None and self.port.prober is not None:
            self.port.prober.path_changed()
        session = self.latest.session if self.latest is not None else ""
        if self.port is not None:
            self._instance.vitals.book.moved(self.port, path)
        self._instance.bus.emit(PathChanged(session=session, local=path.local, remote=path.remote))

    def measured(self, rtt: Seconds) -> None:
        self._instance.vitals.book.measured(rtt)

    def lose(self, why: str) -> None:
        """Give the connection up as a crash would: without a goodbye, so that the session can be resumed."""
        self._connection.close(CLOSE_DEAD, why)

    async def close(self) -> None:
        """The connection is gone. A grant that is being applied is applied to its end: half of it would be neither in
        force nor remembered."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.peer is not None and self.port is not None:
            self._instance.datapath.detach(self.peer, self.port)
            self._instance.vitals.book.down(self.port)
        elif self.port is not None:
            self.port.close()
        self.peer = None

    # The path

    def _resized(self) -> None:
        """The path carries more, or less, than was known."""
        self._judge_path()
        if self.peer is not None:
            self._spawn(self._refitted())

    def _judge_path(self) -> None:
        """The own direction is known, and the server has said as much of its own."""
        port, granted = self.port, self.latest
        if port is None or granted is None or not port.size_known:
            return
        if granted.mtu >= min(port.inner_mtu(), self._instance.configuration.largest_mtu):
            self._path_known.set()

    async def _refitted(self) -> None:
        granted, port = self.latest, self.port
        if granted is None or port is None or self.peer is None:
            return
        before = self._instance.pipeline.tun_mtu
        try:
            mtu = await self._tunnel.refit(granted, port)
        except Exception as error:
            self._failed(error)
            return
        if mtu != before:
            payload = port.prober.payload if port.prober is not None else 0
            self._instance.bus.emit(MtuChanged(session=granted.session, mtu=mtu, payload=payload))

    # The host

    def _apply(self, granted: Granted) -> None:
        self._spawn(self._applied(granted))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._instance.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _applied(self, granted: Granted) -> None:
        if self.peer is None:
            # What is sent before the path is known would be cut to the guess, and its senders told to keep to that.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._path_known.wait(), PATIENCE)
            granted = self.latest or granted
        port = self.port
        assert port is not None
        try:
            peer = await self._tunnel.apply(granted, port)
        except Exception as error:
            self._failed(error)
            return
        if self.peer is None:
            self.peer = peer
            self._instance.vitals.book.up(port)
            self._instance.datapath.attach(peer, port)
            self.up.set()
            self._spawn(self._refitted())

    def _failed(self, error: Exception) -> None:
        known = error if isinstance(error, VpnrsError) else self._instance.blame(error)
        known = known or HostError(f"a grant failed: {describe(error)}")
        self.error = known
        self.on_error()


def _nothing() -> None:
    """Nobody waits for this link yet."""
