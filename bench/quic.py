"""Datagrams one way over loopback between two processes: how fast the QUIC transport is on this machine.

python bench/quic.py [--engine aioquic|qh3] [--to aioquic|qh3] [--seconds 5] [--size 1300]
                     [--profile sender|receiver] [--slow] [--no-gso] [--no-gro]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import multiprocessing
import pstats
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from vpnrs_core.interfaces import Connection
from vpnrs_core.quic.identity import make_certificate, pin_of
from vpnrs_core.quic.settings import QuicConfig, ServerIdentity
from vpnrs_core.quic.transport import QuicTransport

ALPN = "bench"


class Receiver:
    def __init__(self) -> None:
        self.count = self.bytes = 0
        self.first = self.last = 0.0
        self.done = asyncio.get_running_loop().create_future()

    def stream_data(self, stream: int, data: bytes, end: bool) -> None: ...
    def stream_reset(self, stream: int, code: int) -> None: ...
    def writable(self) -> None: ...
    def path_changed(self, path: Any) -> None: ...

    def datagrams(self, batch: Sequence[bytes]) -> None:
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.count += len(batch)
        self.bytes += sum(map(len, batch))

    def closed(self, code: int, reason: str) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Sender(Receiver):
    """Keeps the connection full, as a busy TUN would: super-packets of 45 datagrams."""

    def __init__(self, connection: Connection, size: int) -> None:
        super().__init__()
        self.connection, self.batch = connection, [bytes(size)] * 45

    def writable(self) -> None:
        while self.connection.send(self.batch) == len(self.batch):
            pass


def _config(options: argparse.Namespace, **keys: Any) -> QuicConfig:
    return QuicConfig(udp_gso=not options.no_gso, udp_gro=not options.no_gro, **keys)


def _engines(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """`--slow` keeps either engine to the public calls of its library."""
    if name == "qh3":
        from vpnrs_qh3.engine import Qh3Engine

        return {name: Qh3Engine(direct=not options.slow)}
    from vpnrs_core.quic.aioquic_engine import AioquicEngine

    return {name: AioquicEngine(fast=not options.slow)}


def serve(options: argparse.Namespace, directory: str, pipe: Pipe) -> None:
    asyncio.run(_profiled(options, "receiver", _serve(options, Path(directory), pipe)))


async def _serve(options: argparse.Namespace, directory: Path, pipe: Pipe) -> None:
    receiver = Receiver()

    def arrived(connection: Connection) -> None:
        connection.authenticated()
        connection.listen(receiver)

    config = _config(options, certificate=directory / "certificate.pem", key=directory / "key.pem")
    transport = QuicTransport(config, _engines(options, options.to or options.engine))
    listener = await transport.listen("127.0.0.1:0", [ALPN], arrived)
    pipe.send(listener.where)
    start = time.process_time()
    await receiver.done
    seconds = receiver.last - receiver.first
    pipe.send(
        {
            "mbit_s": round(receiver.bytes * 8 / seconds / 1e6),
            "received": receiver.count,
            "receiver_us_per_datagram": round((time.process_time() - start) / receiver.count * 1e6, 2),
        }
    )
    await listener.close()


async def _send(options: argparse.Namespace, where: str, pin: str) -> dict[str, Any]:
    transport = QuicTransport(_config(options), _engines(options, options.engine), ServerIdentity(server_pin=pin))
    connection = await transport.dial(where, [ALPN])
    sender = Sender(connection, options.size)
    connection.listen(sender)
    start = time.process_time()
    sender.writable()
    await asyncio.sleep(options.seconds)
    facts = dict(connection.facts())
    used = time.process_time() - start
    connection.close(0, "done")
    await transport.close()
    return facts | {"sender_cpu": used}


async def _profiled(options: argparse.Namespace, side: str, work: Any) -> Any:
    if options.profile != side:
        return await work
    profile = cProfile.Profile()
    profile.enable()
    try:
        return await work
    finally:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(28)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["aioquic", "qh3"], default="aioquic", help="the sender's")
    parser.add_argument("--to", choices=["aioquic", "qh3"], help="the receiver's; default: the sender's")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--size", type=int, default=1300)
    parser.add_argument("--profile", choices=["sender", "receiver"])
    for flag in ("--slow", "--no-gso", "--no-gro"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()
    pair = make_certificate("localhost")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "certificate.pem").write_bytes(pair.certificate)
        Path(directory, "key.pem").write_bytes(pair.key)
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.Process(target=serve, args=(options, directory, theirs), daemon=True)
        server.start()
        where = ours.recv()
        facts = asyncio.run(_profiled(options, "sender", _send(options, where, pin_of(pair.certificate))))
        result = ours.recv()
        server.join()
    result["sender_us_per_datagram"] = round(facts.pop("sender_cpu") / result["received"] * 1e6, 2)
    print(json.dumps(result | facts, indent=2))


if __name__ == "__main__":
    main()
