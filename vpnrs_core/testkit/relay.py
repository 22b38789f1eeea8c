"""A UDP relay that makes a path bad on purpose, with a port of its own towards the target as a NAT has.

    python -m vpnrs_core.testkit.relay --listen 10.0.1.2:4433 --to 10.0.2.2:4433 --delay 20 --loss 1,0 --rate 1

Two values with a comma are up (client → target) and down. Signals while it runs: USR1 blackout, USR2 end of the
blackout, HUP a new outgoing port for every client, TERM or INT the end. Each line of its output is one JSON object:
`{"event": "listening", "port": …}` first, the event of each signal once it is in force, and the counts last.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import heapq
import json
import random
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from vpnrs_core.testkit.impairment import Direction, Impairment

_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_BUFFER: Final = 7 << 20
_READ_SIZE: Final = 65_535
# Bursts read from a socket before the others have their turn.
_READS: Final = 32
# What one UDP GSO send takes: 64 segments on older kernels, and an IP packet's length.
_MAX_SEGMENTS: Final = 64
_MAX_SEND: Final = 65_000

# A full buffer, a datagram too large for the route, or nobody at the other end: loss, to the sender.
_LOSS: Final = frozenset({errno.EAGAIN, errno.EMSGSIZE, errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH})

SocketAddress = Any  # the kernel's form, passed through


@dataclass(order=True)
class _Burst:
    """Datagrams of `segment` bytes each (the last may be shorter) that leave together."""

    leaves: float
    number: int
    data: bytes = field(compare=False)
    segment: int = field(compare=False)
    through: Callable[[], socket.socket] = field(compare=False)
    address: SocketAddress = field(compare=False)


class Relay:
    """A relay in the running loop. `port` is the one it listens on."""

    def __init__(self, target: tuple[str, int], up: Impairment, down: Impairment, seed: int = 0) -> None:
        source = random.Random(seed)
        self.up = Direction(up, source.random)
        self.down = Direction(down, source.random)
        self.port = 0
        self._target = target
        self._clients: dict[SocketAddress, socket.socket] = {}
        self._waiting: list[_Burst] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self.refused = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        self._front = _open(host)
        self._front.bind((host, port))
        self.port = self._front.getsockname()[1]
        self._loop.add_reader(self._front, self._from_clients)

    def blackout(self, on: bool) -> None:
        """Nothing passes any more, in either direction; what waits still leaves."""
        self.up.blackout = self.down.blackout = on

    def rebind(self) -> None:
        """The target sees every client come from another port from now on, and no answer reaches the old one."""
        for client in list(self._clients):
            old = self._clients[client]
            self._clients[client] = self._connect(client)
            self._loop.remove_reader(old)
            old.close()

    def counts(self) -> dict[str, Any]:
        return {"up": dict(self.up.counts), "down": dict(self.down.counts), "refused": self.refused}

    def close(self) -> None:
        for end in (self._front, *self._clients.values()):
            self._loop.remove_reader(end)
            end.close()
        self._clients.clear()
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _connect(self, client: SocketAddress) -> socket.socket:
        end = _open(self._target[0])
        end.connect(self._target)
        self._loop.add_reader(end, self._from_target, end, client)
        return end

    def _from_clients(self) -> None:
        for data, segment, client in _receive(self._front):
            if client not in self._clients:
                self._clients[client] = self._connect(client)
            # Looked up when it leaves: a rebind takes what waits along, as a NAT does.
            self._offer(self.up, data, segment, partial(self._clients.__getitem__, client), None)
        self._flush()

    def _from_target(self, end: socket.socket, client: SocketAddress) -> None:
        for data, segment, _ in _receive(end):
            self._offer(self.down, data, segment, lambda: self._front, client)
        self._flush()

    def _offer(
        self, direction: Direction, data: bytes, segment: int, through: Callable[[], socket.socket], address: Any
    ) -> None:
        now = self._loop.time()
        if direction.impairment.per_datagram or not data:
            pieces = [data[start : start + segment] for start in range(0, len(data), segment)] or [data]
        else:
            pieces = [data]
        for piece in pieces:
            count = -(-len(piece) // segment) if piece else 1
            for leaves in direction.offer(len(piece), now, count):
                self._number += 1
                heapq.heappush(self._waiting, _Burst(leaves, self._number, piece, segment, through, address))

    def _flush(self) -> None:
        """Send what is due, neighbours on the same way in one call; set the timer for the rest."""
        now = self._loop.time()
        due = []
        while self._waiting and self._waiting[0].leaves <= now:
            due.append(heapq.heappop(self._waiting))
        for burst in _join(due):
            self._send(burst)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._waiting[0].leaves, self._flush) if self._waiting else None

    def _send(self, burst: _Burst) -> None:
        several = len(burst.data) > burst.segment
        control = [(socket.SOL_UDP, _UDP_SEGMENT, burst.segment.to_bytes(2, sys.byteorder))] if several else []
        where = () if burst.address is None else (burst.address,)
        try:
            burst.through().sendmsg([burst.data], control, 0, *where)
        except OSError as error:
            if several and error.errno in (errno.EINVAL, errno.EIO, errno.EMSGSIZE):
                # This kernel or this route takes no GSO send of that shape.
                for start in range(0, len(burst.data), burst.segment):
                    self._send(replace(burst, data=burst.data[start : start + burst.segment]))
            elif error.errno in _LOSS:
                self.refused += 1
            else:
                raise


def _join(bursts: list[_Burst]) -> list[_Burst]:
    """Neighbours that go the same way with equal sizes become one send."""
    joined: list[_Burst] = []
    parts: list[bytes] = []
    size = 0
    for burst in bursts:
        last = joined[-1] if joined else None
        if (
            last is not None
            and burst.data
            and last.segment == burst.segment == len(burst.data)
            and size % burst.segment == 0
            and last.address == burst.address
            and last.through() is burst.through()
            and size + len(burst.data) <= min(_MAX_SEND, _MAX_SEGMENTS * burst.segment)
        ):
            parts.append(burst.data)
            size += len(burst.data)
            continue
        if last is not None and len(parts) > 1:
            last.data = b"".join(parts)
        joined.append(burst)
        parts = [burst.data]
        size = len(burst.data)
    if len(parts) > 1:
        joined[-1].data = b"".join(parts)
    return joined


def _open(host: str) -> socket.socket:
    end = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    end.setsockopt(socket.SOL_UDP, _UDP_GRO, 1)
    return end


def _receive(end: socket.socket) -> list[tuple[bytes, int, SocketAddress]]:
    """(data, bytes a datagram, from) of each burst that has arrived."""
    found = []
    for _ in range(_READS):
        try:
            data, control, _, address = end.recvmsg(_READ_SIZE, 64)
        except BlockingIOError:
            break
        except ConnectionRefusedError:
            continue
        segment = next(
            (
                int.from_bytes(value[:4], sys.byteorder)
                for level, kind, value in control
                if level == socket.SOL_UDP and kind == _UDP_GRO
            ),
            len(data),
        )
        found.append((data, segment or 1, address))
    return found


def endpoint(text: str) -> tuple[str, int]:
    """ "10.0.0.1:4433" or "[fd00::1]:4433" as (host, port). Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not 0 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not ADDRESS:PORT")
    return host.strip("[]"), int(port)


def _both(text: str) -> tuple[float, float]:
    up, _, down = text.partition(",")
    return float(up), float(down or up)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m vpnrs_core.testkit.relay", description="A bad path for UDP.")
    parser.add_argument("--listen", type=endpoint, required=True, metavar="A:P")
    parser.add_argument("--to", type=endpoint, required=True, metavar="A:P")
    for option, unit in (
        ("delay", "milliseconds"),
        ("loss", "percent"),
        ("rate", "Mbit/s, 0: unlimited"),
        ("queue", "bytes that wait for the rate, 0: unlimited"),
        ("reorder", "percent that come late"),
        ("reorder-by", "milliseconds that they come late"),
        ("duplicate", "percent"),
    ):
        default = (10.0, 10.0) if option == "reorder-by" else (0.0, 0.0)
        parser.add_argument(f"--{option}", type=_both, default=default, metavar="UP[,DOWN]", help=unit)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def _impairment(arguments: argparse.Namespace, side: int) -> Impairment:
    return Impairment(
        delay=arguments.delay[side] / 1e3,
        loss=arguments.loss[side] / 100,
        rate=arguments.rate[side] * 1e6,
        queue=int(arguments.queue[side]),
        reorder=arguments.reorder[side] / 100,
        reorder_by=arguments.reorder_by[side] / 1e3,
        duplicate=arguments.duplicate[side] / 100,
    )


async def _serve(arguments: argparse.Namespace) -> None:
    relay = Relay(arguments.to, _impairment(arguments, 0), _impairment(arguments, 1), arguments.seed)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await relay.start(*arguments.listen)

    def act(event: str, action: Callable[[], None]) -> None:
        action()
        _tell({"event": event})

    loop.add_signal_handler(signal.SIGUSR1, act, "blackout", lambda: relay.blackout(True))
    loop.add_signal_handler(signal.SIGUSR2, act, "restored", lambda: relay.blackout(False))
    loop.add_signal_handler(signal.SIGHUP, act, "rebound", relay.rebind)
    _tell({"event": "listening", "port": relay.port})
    try:
        await ended.wait()
    finally:
        relay.close()
    _tell({"event": "ended", **relay.counts()})


def _tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _arguments(argv)
    try:
        asyncio.run(_serve(arguments))
    except OSError as error:
        sys.exit(f"relay: cannot listen on {arguments.listen[0]} port {arguments.listen[1]}: {error.strerror}")


if __name__ == "__main__":
    main()
