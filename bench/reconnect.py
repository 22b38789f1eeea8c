"""How long it takes until all are back when a server has been restarted: python -m bench.reconnect.

client 1 … client n ── server          Clients are tasks of one process, in the namespace of the first client.

Each begins within the client's jitter, dials, and tries again as `vpnrs run` does. Their half of the handshakes runs
beside the server, so what is measured is no less than what it would be on hosts of their own."""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from dataclasses import dataclass, field

from bench.handshakes import Opener
from bench.process import end_cleanly
from vpnrs_core.config.load import load
from vpnrs_core.config.models import ClientConfig
from vpnrs_core.engine.backoff import Backoff, BackoffRules
from vpnrs_core.errors import VpnrsError
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.testkit.tunnel import TunnelNet

# The first of the clients' own addresses in the network that connects the first client's host with the server's.
_FIRST = 10
# Seconds after which who is not back is given up.
PATIENCE = 90.0


@dataclass
class Returned:
    """When who was back, in seconds from the restart; how many attempts failed before."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0


async def come_back(opener: Opener, via: str | None, began: float, found: Returned) -> asyncio.Task[object]:
    rules = BackoffRules()
    backoff = Backoff(rules, random.random)
    await asyncio.sleep(rules.jitter * random.random())
    while True:
        try:
            task = await opener.open(via)
        except (VpnrsError, RuntimeError):
            found.failed += 1
        else:
            found.seconds.append(time.monotonic() - began)
            return task
        pause = backoff.failed()
        assert pause is not None
        await asyncio.sleep(pause.seconds)


async def everybody(net: TunnelNet, sources: list[str | None]) -> Returned:
    config = load(net.client.config)
    assert isinstance(config, ClientConfig)
    opener, found, began = Opener(config, net.client.config.parent, AioquicEngine()), Returned(), time.monotonic()
    async with asyncio.timeout(PATIENCE):
        open_ = await asyncio.gather(*(come_back(opener, via, began, found) for via in sources))
    for task in open_:
        task.cancel()
    await asyncio.gather(*open_, return_exceptions=True)
    await opener.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.reconnect", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=100, help="up to 240")
    parser.add_argument("--engine", default="aioquic", help="the server's QUIC engine")
    parser.add_argument("--one-source", action="store_true", help="all of them behind one address")
    parser.add_argument("--share", type=float, default=0.2, help="[quic] unauthenticated_cpu")
    args = parser.parse_args()
    end_cleanly()
    with TunnelNet() as net:
        plugins: dict[str, dict[str, int]] = {"ratelimit": {}, **({"qh3": {}} if args.engine == "qh3" else {})}
        session = {"max_sessions_per_principal": args.clients}
        net.server.configure(
            {"quic": {"engine": args.engine, "unauthenticated_cpu": args.share}, "plugins": plugins, "session": session}
        )
        net.start_server()
        network = load(net.client.config).server.rpartition(".")[0]  # type: ignore[union-attr]  # a client's
        sources: list[str | None] = [None] * args.clients
        if not args.one_source:
            sources = [f"{network}.{_FIRST + number}" for number in range(args.clients)]
            for source in sources:
                net.client_ns[0].run("ip", "address", "add", f"{source}/32", "dev", "lo")
        with net.client_ns[0].entered():
            found = asyncio.run(everybody(net, sources))
        door = net.server.status()["server"]["door"]
        half = statistics.median(found.seconds)
        print(f"{args.clients} clients: half were back after {half:.1f} s, all after {max(found.seconds):.1f} s")
        print(f"attempts that failed: {found.failed}; door: {door}")
        net.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
