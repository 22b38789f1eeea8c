"""The QUIC transport: listens and dials, and makes sure whom it talks to."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import ClassVar, Literal

from vpnrs_core.errors import AuthRejected, ConfigError, HostError, PeerError, PluginError
from vpnrs_core.interfaces.common import Network, Seconds
from vpnrs_core.interfaces.engine import QuicEngine, QuicSettings, SocketAddress
from vpnrs_core.interfaces.transport import Connection
from vpnrs_core.quic.codes import CLOSE_IDENTITY
from vpnrs_core.quic.connection import QuicConnection
from vpnrs_core.quic.driver import ClientDriver, Driver, expect_connection
from vpnrs_core.quic.identity import load_key_pair, parse_pin, pin_of_spki, read_pem
from vpnrs_core.quic.resolve import resolve, split_where
from vpnrs_core.quic.server import ServerDriver
from vpnrs_core.quic.settings import QuicConfig, ServerIdentity
from vpnrs_core.quic.sizes import HANDSHAKE, for_path, small_handshake
from vpnrs_core.quic.udp import UdpSocket, address_text, bind, join_host_port, path_payload

RESOLVE_SECONDS = 5.0
Target = tuple[socket.AddressFamily, SocketAddress]
Engines = Mapping[str, QuicEngine] | Callable[[], Mapping[str, QuicEngine]]


class QuicListener:
    """interfaces.Listener."""

    def __init__(self, driver: ServerDriver) -> None:
        self.driver = driver

    @property
    def where(self) -> str:
        return join_host_port(self.driver.host, self.driver.port)

    def door(self) -> Mapping[str, int]:
        """interfaces.Door."""
        return self.driver.door()

    async def close(self) -> None:
        await self.driver.close("the server is going away")


@dataclass(frozen=True)
class _Check:
    """What a server must prove to this client."""

    pin: bytes | None
    ca: bytes | None
    use_ca: bool
    server_name: str | None


class QuicTransport:
    """interfaces.Transport over any registered QUIC engine."""

    NAME: ClassVar[str] = "quic"
    # Seconds for one address to answer.
    dial_seconds: Seconds = 3.0
    LACKS: ClassVar[frozenset[Literal["datagrams", "migration", "sockets", "client_certificates", "streams"]]] = (
        frozenset()
    )

    def __init__(
        self,
        config: QuicConfig,
        engines: Engines,
        identity: ServerIdentity | None = None,
        *,
        start_payload: int | None = None,
    ) -> None:
        """`engines` by NAME, or a function that returns them, asked when the first connection is made; `identity` is
        the client's. `start_payload`: bytes of UDP payload until a path is known to carry more, None: the most."""
        self._config = config
        self._engines = engines
        self._identity = identity or ServerIdentity()
        self._start_payload = start_payload
        self._narrow: set[str] = set()  # where the usual handshake found no answer
        self._drivers: set[Driver] = set()
        self._closed_counts: Counter[str] = Counter()
        self._underlay: dict[str, None] = {}
        self._known: dict[str, list[Target]] = {}
        self.on_underlay: Callable[[], Awaitable[None]] | None = None

    # interfaces.Transport

    async def listen(
        self, where: str, alpns: Sequence[str], on_connection: Callable[[Connection], None]
    ) -> QuicListener:
        pair = load_key_pair(self._config.certificate, self._config.key)
        engine = self._engine()
        family, address = (await resolve(where))[0]
        sock = self._socket(bind(address, family))
        settings = QuicSettings(
            is_client=False,
            alpns=tuple(alpns),
            certificate=pair.certificate,
            key=pair.key,
            max_udp_payload=self._config.max_udp_payload,
            start_udp_payload=self._start_payload,
            congestion=self._config.congestion,
            idle_timeout=self._config.idle_timeout,
        )
        driver = ServerDriver(sock, self._config, engine, settings, pair.spki, on_connection)
        self._keep(driver)
        return QuicListener(driver)

    async def dial(self, where: str, alpns: Sequence[str], *, via: str | None = None) -> QuicConnection:
        """`via` is a local address to dial from. Every address of the name is tried, three seconds each."""
        host, _ = split_where(where)
        check = self._check(host)
        settings = QuicSettings(
            is_client=True,
            alpns=tuple(alpns),
            verify="ca" if check.use_ca else "pin",
            ca=check.ca,
            server_name=check.server_name,
            max_udp_payload=self._config.max_udp_payload,
            start_udp_payload=self._start_payload,
            congestion=self._config.congestion,
            idle_timeout=self._config.idle_timeout,
        )
        engine = self._engine()
        failures: list[str] = []
        async with aclosing(self._targets(where)) as targets:
            async for family, address in targets:
                try:
                    return await self._dial_one(engine, settings, family, address, check, via)
                except (PeerError, HostError) as error:
                    failures.append(f"{address_text(address)}: {error}")
        raise PeerError(f"no connection to {where}: " + "; ".join(failures))

    def underlay(self) -> Iterable[Network | str]:
        return list(self._underlay)

    def facts(self) -> Mapping[str, int]:
        """interfaces.TransportFacts."""
        total = Counter(self._closed_counts)
        for driver in self._drivers:
            total.update(counts(driver))
        return total

    async def aim(self, where: str, known: Sequence[Network] = ()) -> None:
        try:
            await self._resolve(where)
        except HostError:
            _, port = split_where(where)
            found = [t for n in known for t in await resolve(join_host_port(str(n.network_address), port))]
            if not found:
                raise
            await self._learn(where, found)

    async def close(self) -> None:
        await asyncio.gather(*(driver.close() for driver in self._drivers))

    # Dialling

    async def _targets(self, where: str) -> AsyncGenerator[Target, None]:
        """What the name stood for last comes first: once the tunnel carries the questions to the DNS, the tunnel has to
        be there before they are answered."""
        tried = list(self._known.get(where, ()))
        for target in tried:
            yield target
        try:
            found = await self._resolve(where)
        except HostError:
            if not tried:
                raise
            return
        for target in found:
            if target not in tried:
                yield target

    async def _resolve(self, where: str) -> list[Target]:
        """Raises HostError, ConfigError."""
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await resolve(where)
        except TimeoutError:
            raise HostError(
                f"{where}: the name was not resolved within {RESOLVE_SECONDS:g} s. Check this host's DNS."
            ) from None
        await self._learn(where, found)
        return found

    async def _learn(self, where: str, found: list[Target]) -> None:
        self._known[where] = found
        grown = [address[0] for _, address in found if address[0] not in self._underlay]
        self._underlay.update(dict.fromkeys(grown))
        if grown and self.on_underlay is not None:
            await self.on_underlay()

    async def _dial_one(
        self,
        engine: QuicEngine,
        settings: QuicSettings,
        family: socket.AddressFamily,
        address: SocketAddress,
        check: _Check,
        via: str | None,
    ) -> QuicConnection:
        made = engine.client(for_path(settings, address, self._handshake(address)))
        expect_connection(engine, "client", made)
        driver = ClientDriver(self._socket(await _unbound(family, via)), self._config, made)
        self._keep(driver)
        connection = driver.connection
        try:
            async with asyncio.timeout(self.dial_seconds):
                await driver.connect(address)
        except TimeoutError:
            connection.close(0, "no answer")
            self._narrow ^= {address[0]}  # the next attempt is made with the other size
            raise PeerError(
                f"no answer within {self.dial_seconds:g} s; is the server running, and UDP port {address[1]} open?"
            ) from None
        except BaseException:
            connection.close(0, "not wanted any more")
            raise
        self._verify(connection, check)
        return connection

    def _handshake(self, address: SocketAddress) -> int:
        """Bytes that the handshake is padded to: fewer where the route says so, or where more found no answer."""
        known = path_payload(address)
        narrow = address[0] in self._narrow or (known is not None and known < HANDSHAKE)
        return small_handshake(address) if narrow else HANDSHAKE

    def _check(self, host: str) -> _Check:
        """Raises ConfigError: a client never connects unverified."""
        wanted = self._identity
        if wanted.server_pin is None and wanted.ca is None:
            raise ConfigError(
                "the client has no way to recognise its server: set server_pin (`vpnrs init` prints it), or ca and "
                "server_name."
            )
        pin = parse_pin(wanted.server_pin) if wanted.server_pin is not None else None
        ca: bytes | None = None
        if wanted.ca is not None and wanted.ca != "system":
            ca = read_pem(Path(wanted.ca), "ca")
            if b"-----BEGIN CERTIFICATE-----" not in ca:
                raise ConfigError(f"ca {wanted.ca} is not a PEM file of certificates.")
        return _Check(pin, ca, wanted.ca is not None, wanted.server_name or host)

    def _verify(self, connection: QuicConnection, check: _Check) -> None:
        """Compare the key before anybody can open a stream. Raises AuthRejected."""
        if check.pin is None:
            return
        spki = connection.peer.spki or b""
        if compare_digest(sha256(spki).digest(), check.pin):
            return
        connection.close(CLOSE_IDENTITY, "server key not expected")
        raise AuthRejected(
            f"{connection.path.remote} is not the server that server_pin names: expected sha256:{check.pin.hex()}, "
            f"presented {pin_of_spki(spki)}. If the server's key was renewed, put its new pin into the client's "
            "configuration; if not, somebody is in between."
        )

    # Engines and sockets

    def _engine(self) -> QuicEngine:
        """The one that `engine` names; "auto": the one with the highest PREFERENCE."""
        engines = self._engines() if callable(self._engines) else self._engines
        if not engines:
            raise PluginError("no QUIC engine is registered. Unblock the built-in one, or install another.")
        name = self._config.engine
        if name == "auto":
            return max(engines.values(), key=lambda engine: engine.PREFERENCE)
        if name not in engines:
            raise ConfigError(
                f'[quic] engine "{name}" is not there. Choose "auto" or one of {", ".join(sorted(engines))}.'
            )
        return engines[name]

    def _socket(self, sock: socket.socket) -> UdpSocket:
        return UdpSocket(sock, gso=self._config.udp_gso, gro=self._config.udp_gro, buffer=self._config.socket_buffer)

    def _keep(self, driver: Driver) -> None:
        self._drivers.add(driver)
        driver.closed.add_done_callback(lambda _: self._forget(driver))

    def _forget(self, driver: Driver) -> None:
        self._drivers.discard(driver)
        self._closed_counts.update(counts(driver))


def counts(driver: Driver) -> dict[str, int]:
    """The part of a driver's facts that counts something."""
    return {name: value for name, value in driver.facts().items() if name.startswith("udp_")}


async def _unbound(family: socket.AddressFamily, via: str | None) -> socket.socket:
    """A client's socket. Bound to no address (unless `via` says so), it follows the host's routes."""
    if via is None:
        return bind(("::", 0, 0, 0) if family == socket.AF_INET6 else ("0.0.0.0", 0), family)
    where = f"[{via}]:0" if ":" in via else f"{via}:0"
    for found, address in await resolve(where):
        if found == family:
            return bind(address, family)
    raise HostError(f"{via} is no address of the server's family to dial from.")
