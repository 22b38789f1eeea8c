"""The client: connects, keeps the tunnel up, and tries again for as long as that can help."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from vpnrs_core.config.fields import split_host_port
from vpnrs_core.config.models import ClientConfig, Configuration
from vpnrs_core.engine.backoff import Backoff, BackoffRules, Pause
from vpnrs_core.engine.containment import describe, expect
from vpnrs_core.engine.report import engine_of, link_samples, link_status, session_status
from vpnrs_core.engine.roaming import Roaming
from vpnrs_core.engine.tunnel import ClientSideLink, Tunnel
from vpnrs_core.errors import AuthRejected, HostError, PeerError, PluginError, VpnrsError
from vpnrs_core.events import Connected, ConnectFailed, Disconnected
from vpnrs_core.interfaces import (
    Address,
    Aims,
    ClientHalf,
    ClientRequest,
    Code,
    Expected,
    LinkControl,
    Network,
    Refuse,
    ResumeTicket,
    RetryClass,
    Sample,
    Session,
    SessionProtocol,
    retry_class,
)
from vpnrs_core.pipeline.pipeline import Pipeline, StageSpec

if TYPE_CHECKING:
    from vpnrs_core.engine.instance import Instance

log = logging.getLogger("vpnrs.client")


# Routes that `vpnrs doctor --live` looks up.
_MOST_PROBES = 16
_IPV4_ALONE: Sequence[Network] = (ip_network("0.0.0.0/0"),)


class Client:
    """engine.instance.Role."""

    def __init__(self, instance: Instance) -> None:
        assert isinstance(instance.configuration, ClientConfig)
        self._instance = instance
        self._config = instance.configuration
        with self._method("client"):
            self._half: ClientHalf = instance.selection.authenticators[0].client()
        entries = instance.plugins.registry.all("session_protocols")
        self._protocols: dict[str, SessionProtocol] = {alpn: e.object for e in entries for alpn in e.object.ALPNS}
        self._tunnel = Tunnel(instance)
        rules = self._config.reconnect
        self._backoff = Backoff(
            BackoffRules(rules.min, rules.max, rules.jitter, rules.attempts), random.SystemRandom().random
        )
        self._ticket: ResumeTicket | None = None
        self._link: ClientSideLink | None = None
        self._task: asyncio.Task[None] | None = None
        self._switch_closed = self._without_ipv6 = False
        self._roaming = Roaming(self._tunnel, self._standing)
        self._state = "connecting"
        self._attempts = 0
        self._ever_connected = False
        self._connected_at: float | None = None
        self._last_error: str | None = None
        self._next_try: float | None = None

    def make_pipeline(self, stages: Sequence[StageSpec]) -> Pipeline:
        return Pipeline("client", stages, self._instance.drops, self._stage_failed)

    async def start(self) -> str:
        transport = self._instance.selection.transport
        if isinstance(transport, Aims):
            transport.on_underlay = self._follow_underlay
        if self._config.kill_switch:
            try:
                await self._aim()
            except HostError as error:
                if not self._named_server:
                    raise
                log.warning("%s The kill switch closes as soon as the server's address is known", error)
            else:
                await self._close_switch()
        else:
            await self._instance.host.drop_outliving()
        await self._instance.host.watch(self._instance.tun, self._roaming.changed, self._roaming.tun_changed)
        self._task = asyncio.create_task(self._keep_connected())
        return self._config.server

    async def stop(self) -> None:
        """Cancelling says goodbye to the server, so that the lease is free at once."""
        await self._roaming.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._tunnel.close("stopped")

    async def reconfigure(self, configuration: Configuration, changed: frozenset[str]) -> None:
        assert isinstance(configuration, ClientConfig)
        before, self._config = self._config, configuration
        try:
            await self._tunnel.reconfigure(configuration)
        except HostError:
            self._config = before
            raise
        rules = configuration.reconnect
        self._backoff.rules = BackoffRules(rules.min, rules.max, rules.jitter, rules.attempts)
        if not configuration.kill_switch:
            self._switch_closed = False
            await self._instance.host.open_kill_switch()
        elif changed & {"kill_switch", "kill_switch_after_crash"}:
            await self._aim()
            await self._close_switch()

    def _standing(self) -> tuple[LinkControl, Callable[[str], None]] | None:
        link = self._link
        if link is None or link.control is None or self._connected_at is None:
            return None
        return link.control, link.lose

    # The kill switch

    @property
    def _named_server(self) -> bool:
        """The server is named, not given by its address: only the DNS knows what the kill switch must let through."""
        host, _ = split_host_port(self._config.server)
        try:
            ip_address(host)
        except ValueError:
            return True
        return False

    async def _aim(self) -> None:
        """Raises HostError."""
        transport, host = self._instance.selection.transport, self._instance.host
        if isinstance(transport, Aims):
            await transport.aim(self._config.server, host.left_open())

    async def _close_switch(self) -> None:
        """Nothing leaves from now on but by the tunnel. Raises HostError; then it is to be closed before the next
        packet."""
        self._switch_closed = True
        try:
            await self._follow_underlay()
        except BaseException:
            self._switch_closed = False
            raise

    async def _follow_underlay(self) -> None:
        """The transport may dial more than before."""
        if self._switch_closed:
            port = split_host_port(self._config.server)[1] if self._config.transport == "quic" else None
            await self._instance.host.set_kill_switch(
                self._instance.tun.name, self._tunnel.underlay(), port, self._config.kill_switch_after_crash
            )
        await self._tunnel.underlay_changed()

    def sessions(self) -> Sequence[Session]:
        return [] if self._tunnel.record is None else [self._tunnel.record]

    # Staying connected

    async def _keep_connected(self) -> None:
        try:
            while True:
                pause = await self._once()
                self._state = "waiting"
                self._next_try = self._instance.loop.time() + pause.seconds
                await self._roaming.wait(pause)
                self._next_try = None
        except Exception as error:
            # Whatever it is, a client that no longer tries must not look like one that runs.
            known = error if isinstance(error, VpnrsError) else self._instance.blame(error)
            known = known or PluginError(f"the client failed: {describe(error)}")
            self._last_error = str(known)
            self._instance.fail(known)

    async def _once(self) -> Pause:
        """One connection from dialling to its end → the wait until the next attempt. Raises what no further attempt
        can change."""
        self._state = "connecting"
        self._attempts += 1
        lasted, retry_after, code, cause = 0.0, None, "", ""
        try:
            refuse = await self._connect()
            if refuse is None:
                cause = "the connection was lost"
            else:
                code, retry_after = refuse.code.value, refuse.retry_after
                cause = self._judge_refusal(refuse)
        except AuthRejected as error:
            # What a verified server says stands. A wrong key at the first attempt is a wrong configuration; later it
            # may be somebody on the path, who must not be able to end the tunnel for good.
            if self._link is not None or not self._ever_connected:
                raise
            code, cause = error.code, str(error)
        except PeerError as error:
            cause = str(error)
        except HostError as error:
            if not self._is_passing(error):
                raise
            cause = str(error)
        finally:
            if self._connected_at is not None:
                lasted = self._instance.loop.time() - self._connected_at
            self._connected_at = None
        return self._again(cause, code, lasted, retry_after)

    def _again(self, cause: str, code: str, lasted: float, retry_after: float | None) -> Pause:
        """Count, tell, and find the wait. Raises PeerError when the limit of attempts is reached."""
        self._last_error = cause
        server = self._config.server
        if lasted:
            self._instance.bus.emit(Disconnected(server=server, reason=cause))
        pause = self._backoff.failed(lasted, retry_after)
        next_try = None if pause is None else pause.seconds
        self._instance.bus.emit(
            ConnectFailed(server=server, code=code, error=cause, attempt=self._attempts, next_try=next_try)
        )
        if pause is None:
            raise PeerError(f"no connection to {server} after {self._backoff.failures} attempts; the last one: {cause}")
        return pause

    def _is_passing(self, error: HostError) -> bool:
        """Dialling failed on this host: a network that is gone may come back. A grant that this host cannot carry
        out stays impossible."""
        return self._link is None or self._link.error is not error

    def _judge_refusal(self, refuse: Refuse) -> str:
        """→ what to say and try again. Raises AuthRejected for a refusal that stands."""
        text = f"the server refused: {refuse.code.value}" + (f" ({refuse.detail})" if refuse.detail else "")
        if retry_class(refuse.code) is RetryClass.RETRY:
            return text if refuse.retry_after is None else f"{text}; to be tried again after {refuse.retry_after:g} s"
        if refuse.code in (Code.AUTH_FAILED, Code.AUTH_REQUIRED):
            with self._method("refused"):
                again = self._half.refused(refuse.code)
            if again:
                return text
        raise AuthRejected(f"{self._config.server}: {text}; {_ADVICE[refuse.code]}", refuse.code.value)

    @contextmanager
    def _method(self, hook: str) -> Iterator[None]:
        """A method's own errors are for the user; what else it raises is named without its text, which may hold the
        credential."""
        try:
            yield
        except VpnrsError:
            raise
        except Exception as error:
            name = self._config.auth.method
            raised = describe(error, with_text=False)
            raise PluginError(f"authentication method {name!r}: {hook} raised {raised}") from error

    async def _connect(self) -> Refuse | None:
        instance = self._instance
        with self._method("prepare"):
            await self._half.prepare()
        started = instance.loop.time()
        self._link = None
        if self._config.kill_switch and not self._switch_closed:
            await self._aim()
            await self._close_switch()
        wanted = await self._wanted()
        transport = instance.selection.transport
        connection = await self._roaming.dial(
            asyncio.ensure_future(transport.dial(self._config.server, tuple(self._protocols)))
        )
        expect(connection, "alpn", instance.transport_call("dial"), "Connection")
        protocol = self._protocols.get(connection.alpn)
        if protocol is None:
            connection.close(0, "unknown protocol")
            raise PluginError(f"the server chose protocol {connection.alpn!r}, which no loaded plugin speaks")
        book = instance.vitals.book
        book.arrived(connection, started)
        link = self._link = ClientSideLink(instance, self._tunnel, connection)
        request = asyncio.create_task(protocol.request(connection, self._wish(wanted), link))
        link.on_error = request.cancel
        up = asyncio.create_task(self._tell_up(link, started))
        try:
            return await request
        except asyncio.CancelledError:
            if link.error is None:
                request.cancel()
                await asyncio.gather(request, return_exceptions=True)
                raise
            raise link.error from None
        finally:
            up.cancel()
            book.left(connection)
            self._keep_ticket(link)
            await link.close()

    async def _tell_up(self, link: ClientSideLink, started: float) -> None:
        await link.up.wait()
        granted = link.latest
        assert granted is not None
        self._connected_at = self._instance.loop.time()
        self._state = "connected"
        self._ever_connected = True
        self._attempts = 0
        self._keep_ticket(link)
        if granted.underlay:
            try:
                await self._follow_underlay()
            except HostError as error:
                log.error("the server has further addresses, and this host cannot go on to them: %s", error)
        self._instance.bus.emit(
            Connected(
                session=granted.session,
                server=self._config.server,
                addresses=tuple(str(address) for address, _ in granted.addresses),
                handshake_seconds=round(self._connected_at - started, 4),
                resumed=granted.resumed,
            )
        )

    def _keep_ticket(self, link: ClientSideLink) -> None:
        if link.latest is not None and link.latest.resume is not None:
            self._ticket = link.latest.resume

    async def _wanted(self) -> Sequence[Network]:
        """What the configuration asks for; without a word of its own, no family that this host has turned off."""
        if self._config.wanted or not await self._instance.host.lacks_ipv6(self._instance.tun):
            self._without_ipv6 = False
            return self._config.wanted
        if not self._without_ipv6:
            log.warning("IPv6 is off on this host: the tunnel is asked for IPv4 alone")
        self._without_ipv6 = True
        return _IPV4_ALONE

    def _wish(self, wanted: Sequence[Network]) -> ClientRequest:
        return ClientRequest(
            method=self._config.auth.method,
            half=self._half,
            wanted=wanted,
            offer=self._tunnel.offer(),
            resume=self._ticket,
            lane=self._config.lane,
            plugins={p.name: p.version for p in self._instance.plugins.loaded if not p.builtin},
        )

    def _stage_failed(self, plugin: str, where: str, exc: BaseException) -> None:
        self._instance.reporter.report(plugin, where, exc, self._instance.loop.time())

    # Status

    def expected(self) -> Expected:
        """The session's addresses and routes, the way to the server, and what it pushed."""
        outside = [network.network_address for network in self._tunnel.underlay() if network.num_addresses == 1]
        record = self._tunnel.record
        if record is None:
            return Expected(outside=outside)
        granted = record.granted
        families = {address.version for address, _ in granted.addresses}
        return Expected(
            own=granted.addresses,
            inside=[_inside(route) for route in self._tunnel.routes][:_MOST_PROBES],
            outside=outside,
            echo=[address for address in granted.server_addresses if address.version in families],
            dns=granted.dns if self._config.accept_dns else (),
        )

    def samples(self) -> Iterable[Sample]:
        since = self._connected_at
        yield _gauge("vpnrs_connected", "1 while the tunnel is up, else 0", since is not None)
        up = 0.0 if since is None else self._instance.loop.time() - since
        yield _gauge("vpnrs_connected_seconds", "how long the connection has been up, 0: it is not", up)
        record, link = self._tunnel.record, self._link
        if record is not None and record.granted.expires is not None:
            help = "when the session's credential expires, POSIX time"
            yield _gauge("vpnrs_next_expiry_timestamp_seconds", help, record.granted.expires)
        if link is not None and link.peer is not None and link.port is not None:
            yield from link_samples(link.port, link.control)

    def status(self) -> Mapping[str, Any]:
        now, link, tunnel = self._instance.loop.time(), self._link, self._tunnel
        port = link.port if link is not None and link.peer is not None else None
        return {
            "state": self._state,
            "engine": engine_of([port] if port is not None else []),
            "client": {
                "server": self._config.server,
                "addresses": [f"{a}/{n}" for a, n in tunnel.record.granted.addresses] if tunnel.record else [],
                "routes": [str(route) for route in tunnel.routes],
                "connected_seconds": None if self._connected_at is None else round(now - self._connected_at, 3),
                "attempts": self._attempts,
                "last_error": self._last_error,
                "next_try_seconds": None if self._next_try is None else round(max(0.0, self._next_try - now), 3),
            },
        }

    def session_statuses(self, brief: bool) -> Iterator[dict[str, Any]]:
        now, link, tunnel = self._instance.loop.time(), self._link, self._tunnel
        if tunnel.record is None or tunnel.peer is None:
            return
        vitals = self._instance.vitals
        links: list[dict[str, Any]] = []
        if link is not None and link.peer is not None and link.port is not None:
            life = vitals.book.lives.get(link.port)
            links.append(link_status(link.port, link.control, self._config.transport, life, now, brief=brief))
        rates = vitals.rates(tunnel.peer, tunnel.peer.counters, history=not brief)
        yield session_status(tunnel.record, tunnel.peer, now - tunnel.opened_at, links, rates)


def _gauge(name: str, help: str, value: float) -> Sample:
    return Sample(name, "gauge", "seconds" if name.endswith("_seconds") else "", help, {}, float(value))


def _inside(network: Network) -> Address:
    """An address of a network that hardly anything else has a route of its own to."""
    return network[network.num_addresses // 3]


_ADVICE = {
    Code.AUTH_FAILED: "ask its operator for a valid credential, and check that the right one is configured",
    Code.AUTH_REQUIRED: "it does not accept this [auth] method; ask its operator which one it does",
    Code.VERSION: "it speaks another version of the protocol; update the older side",
    Code.POLICY: "its operator's policy forbids this session; ask there",
    Code.SUPERSEDED: "the session was taken over by another connection of the same client",
    Code.PROTOCOL: "this client and that server do not understand each other; update the older side",
}
