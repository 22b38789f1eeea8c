"""Opens sessions with a server one after the other, and keeps them.

    python -m bench.handshakes CLIENT.TOML COUNT aioquic|qh3

It opens one to warm up and says so; a line on standard input starts the count; the seconds that it took are printed;
the sessions stay until standard input ends. Real transport and protocol, no TUN."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from vpnrs_auth_token.authenticator import METHOD, TokenClient

from vpnrs_core.builtin.vpnrs1 import VpnrsProtocol
from vpnrs_core.config.load import load
from vpnrs_core.config.models import ClientConfig
from vpnrs_core.config.secret import Secret
from vpnrs_core.interfaces import ClientRequest, Offer, PathFacts, QuicEngine
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.settings import ServerIdentity
from vpnrs_core.quic.transport import QuicTransport


class IdleLink:
    """A client's engine that carries nothing."""

    def __init__(self) -> None:
        self.welcome = asyncio.Event()

    def granted(self, *_: Any) -> None:
        self.welcome.set()

    def grant_changed(self, granted: Any) -> None:
        pass

    def received(self, payloads: Sequence[bytes]) -> None:
        pass

    def measured(self, rtt: float) -> None:
        pass

    def writable(self) -> None:
        pass

    def path_changed(self, path: PathFacts) -> None:
        pass

    def ext(self, codec: str, body: bytes) -> None:
        pass


class Opener:
    """Dials the server of a client's configuration."""

    def __init__(self, config: ClientConfig, folder: Path, engine: QuicEngine) -> None:
        table = config.plugins["auth_token"]
        self._half = TokenClient(Secret.model_validate(table["token"], context={"folder": folder}))
        self._where = config.server
        identity = ServerIdentity(server_pin=config.server_pin)
        self._transport = QuicTransport(config.quic, {engine.NAME: engine}, identity)
        self._protocol = VpnrsProtocol()

    async def open(self, via: str | None = None) -> asyncio.Task[Any]:
        """One session, welcomed, dialled from the local address `via` → the task that carries it."""
        connection = await self._transport.dial(self._where, self._protocol.ALPNS, via=via)
        link = IdleLink()
        wish = ClientRequest(METHOD, self._half, offer=Offer())
        task = asyncio.create_task(self._protocol.request(connection, wish, link))
        welcome = asyncio.create_task(link.welcome.wait())
        await asyncio.wait([task, welcome], return_when=asyncio.FIRST_COMPLETED)
        if not link.welcome.is_set():
            welcome.cancel()
            raise RuntimeError(f"no session: {task.result()}")
        return task

    async def close(self) -> None:
        await self._transport.close()


def engine_of(name: str) -> QuicEngine:
    if name == "qh3":
        from vpnrs_qh3.engine import Qh3Engine

        return Qh3Engine()
    return AioquicEngine()


async def main(path: str, count: int, engine: str) -> None:
    config = load(path)
    assert isinstance(config, ClientConfig)
    opener = Opener(config, Path(path).parent, engine_of(engine))
    loop = asyncio.get_running_loop()
    open_ = [await opener.open()]
    print("warm", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    start = perf_counter()
    for _ in range(count):
        open_.append(await opener.open())
    print(perf_counter() - start, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for task in open_:
        task.cancel()
    await asyncio.gather(*open_, return_exceptions=True)


if __name__ == "__main__":
    # A socket for each session.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
