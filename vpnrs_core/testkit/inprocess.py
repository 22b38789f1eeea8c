"""A server and a client in the test's own process: real plugins, sessions, pipeline and QUIC over loopback; only the
TUN is a pair of sockets, and the host is left alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from vpnrs_core.config.load import from_data
from vpnrs_core.config.models import Configuration
from vpnrs_core.engine.instance import Instance
from vpnrs_core.events import Connected, Event, InstanceStarted
from vpnrs_core.host.rundir import BASE_VARIABLE
from vpnrs_core.plugins.project import on_path, write
from vpnrs_core.quic.identity import make_certificate, pin_of
from vpnrs_core.testkit.tun import FakeTun

E = TypeVar("E", bound=Event)

PATIENCE = 10.0


class KitHost:
    """Takes every change that an instance asks of its host, and remembers it: `asked` holds (method, arguments)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        async def remember(*arguments: Any, **_: Any) -> None:
            self.asked.append((name, arguments))

        return remember


class KitInstance(Instance):
    """An instance whose host is a KitHost. `far` is the other end of its TUN: what its host would send and receive.
    `events` is all that it told."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration, (), ())
        self.kit_host = KitHost()
        self.near, self.far = FakeTun.pair(f"{configuration.role}0")
        self.events: list[Event] = []
        self._heard = asyncio.Event()
        self.bus.listen(self._hear)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self._heard.set()

    async def open_host(self, rundir: Any) -> Any:
        return self.kit_host

    def open_tun(self) -> Any:
        return self.near

    async def until(self, kind: type[E], true: Callable[[E], object] = bool) -> E:
        """The first event of this kind, past or to come, for which `true`."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self._heard.clear()
                for event in self.events:
                    if isinstance(event, kind) and true(event):
                        return event
                await self._heard.wait()


class Pair:
    """`server` and `client` are running instances; `addresses` the client's in the tunnel, IPv4 first."""

    def __init__(self, server: KitInstance, client: KitInstance, connected: Connected) -> None:
        self.server, self.client = server, client
        self.addresses = sorted((text.partition("/")[0] for text in connected.addresses), key=lambda a: ":" in a)

    async def up(self, *packets: bytes, count: int | None = None) -> list[bytes]:
        """Send IP packets from the client's host → what the server's host receives."""
        self.client.far.send(*packets)
        return await self._receive(self.server.far, len(packets) if count is None else count)

    async def down(self, *packets: bytes, count: int | None = None) -> list[bytes]:
        """The other way."""
        self.server.far.send(*packets)
        return await self._receive(self.client.far, len(packets) if count is None else count)

    async def _receive(self, end: FakeTun, count: int) -> list[bytes]:
        found: list[bytes] = []
        async with asyncio.timeout(PATIENCE):
            while len(found) < count:
                found += end.receive()
                await asyncio.sleep(0.002)
        return found


@asynccontextmanager
async def running(
    folder: Path, *, server: Mapping[str, Any] | None = None, client: Mapping[str, Any] | None = None
) -> AsyncIterator[Pair]:
    """A connected pair. `server` and `client` are merged into configurations that work: a plugin is turned on by
    `server={"plugins": {"mine": {}}}`. Who names no `auth` is let in as alice.

    Raises VpnrsError when one of them cannot run. Both are stopped at the end, and what their stop raises is raised."""
    instances: list[tuple[KitInstance, asyncio.Task[None]]] = []
    with ExitStack() as stack:
        stack.enter_context(_environment(folder / "run"))
        stack.enter_context(_method(folder))
        certificate = make_certificate("127.0.0.1")
        (folder / "kit.crt").write_bytes(certificate.certificate)
        (folder / "kit.key").write_bytes(certificate.key)
        try:
            near = _start(instances, folder, _merged(_server(folder), server or {}))
            where = (await _first(instances, near.until(InstanceStarted))).where
            pin = pin_of(certificate.certificate)
            far = _start(instances, folder, _merged(_client(where, pin), client or {}))
            connected = await _first(instances, far.until(Connected))
            yield Pair(near, far, connected)
        finally:
            for instance, task in reversed(instances):
                instance.stop("the test is over")
                await asyncio.gather(task, return_exceptions=True)
                instance.near.close()
                instance.far.close()
        for _, task in instances:
            task.result()


def _start(instances: list[tuple[KitInstance, asyncio.Task[None]]], folder: Path, data: dict[str, Any]) -> KitInstance:
    instance = KitInstance(from_data(data, folder / f"{data['role']}.toml"))
    instances.append((instance, asyncio.create_task(instance.run())))
    return instance


async def _first(instances: list[tuple[KitInstance, asyncio.Task[None]]], wanted: Any) -> Any:
    """What is wanted, or what ended an instance before."""
    waiting = asyncio.ensure_future(wanted)
    await asyncio.wait([waiting, *(task for _, task in instances)], return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        for _, task in instances:
            if task.done():
                task.result()
    return await waiting


def _server(folder: Path) -> dict[str, Any]:
    return {
        "role": "server",
        "instance": "kit-server",
        "listen": "127.0.0.1:0",
        "addresses": {"ipv4": "10.0.0.0/24", "ipv6": "fd00::/64"},
        "quic": {"certificate": str(folder / "kit.crt"), "key": str(folder / "kit.key")},
        "auth": {"methods": ["anyone"]},
        "plugins": {"kit_anyone": {}},
    }


def _client(where: str, pin: str) -> dict[str, Any]:
    return {
        "role": "client",
        "instance": "kit-client",
        "server": where,
        "server_pin": pin,
        "auth": {"method": "anyone"},
        "plugins": {"kit_anyone": {}},
        "reconnect": {"min": 0.2, "max": 0.4},
    }


def _merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(old)
    for key, value in changes.items():
        inner = new.get(key)
        new[key] = _merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return new


@contextmanager
def _environment(directory: Path) -> Iterator[None]:
    before = os.environ.get(BASE_VARIABLE)
    os.environ[BASE_VARIABLE] = str(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ[BASE_VARIABLE]
        else:
            os.environ[BASE_VARIABLE] = before


@contextmanager
def _method(folder: Path) -> Iterator[None]:
    """`kit_anyone` is an installed plugin, for as long as the pair runs."""
    site = folder / "kit-site"
    write(site, "vpnrs-kit-anyone", "0", {"vpnrs": {"kit_anyone": "vpnrs_core.testkit.anyone:Plugin"}})
    with on_path(site):
        yield
