"""What strangers cost those who are inside: python -m bench.abuse, as root.

    client ── server        a TCP stream through the tunnel, by iperf3
    attacker ────┘          2,000 first packets a second from 127 sources, and handshakes with a bad token

The stream is measured in turn beside the attack and beside an unrelated process that is as busy as the attacker was: it
takes as much of a core, and sends as many packets to a socket of the server's host that nobody reads. On two cores the
attacker's own work, and the kernel's for it, slow everything down; that is not the server's doing."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from bench.process import end_cleanly
from tests.attack.cases import WRONG, ask
from tests.attack.field import SOURCES
from tests.netns.stranger import Stranger
from vpnrs_core.interfaces import Refuse
from vpnrs_core.interfaces.engine import QuicSettings
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.testkit.traffic import open_socket
from vpnrs_core.testkit.tunnel import SERVER4, TunnelNet

INITIALS_A_SECOND = 2000
HANDSHAKES_AT_ONCE = 12
# Packets that a client sends for a handshake and a refusal.
PACKETS_A_HANDSHAKE = 8
LEAST_SHARE = 0.8


def initials(count: int, address: tuple[str, int]) -> list[bytes]:
    """First packets of clients, each of another connection."""
    made = []
    for _ in range(count):
        engine = AioquicEngine().client(QuicSettings(is_client=True, alpns=("vpnrs/1",)))
        engine.connect(address, time.monotonic())
        made.append(bytes(engine.transmit(time.monotonic())[0][0][0]))
    return made


class Attack:
    """Runs for `seconds` in this process → what it did, and what share of a core it took."""

    def __init__(self, net: TunnelNet, seconds: float) -> None:
        self._net, self._seconds = net, seconds
        self.sent = self.refused = self.failed = 0

    async def run(self) -> dict[str, float]:
        one = Stranger(self._net, 1)
        packets = initials(300, one.address)
        with self._net.client_ns[1].entered():
            ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in SOURCES]
            for end, source in zip(ends, SOURCES, strict=True):
                end.bind((source, 0))
        began, before = time.monotonic(), _cpu()
        end_at = began + self._seconds
        workers = [self._guess(one, end_at) for _ in range(HANDSHAKES_AT_ONCE)]
        await asyncio.gather(self._flood(ends, packets, one.address, began, end_at), *workers)
        took = time.monotonic() - began
        share = (_cpu() - before) / took
        for end in ends:
            end.close()
        await one.close()
        return {
            "initials": self.sent / took,
            "refused": self.refused / took,
            "failed": self.failed / took,
            "cpu": share,
        }

    async def _flood(
        self, ends: Sequence[socket.socket], packets: Sequence[bytes], address: Any, began: float, end_at: float
    ) -> None:
        while (now := time.monotonic()) < end_at:
            due = int((now - began) * INITIALS_A_SECOND)
            while self.sent < due:
                with contextlib.suppress(BlockingIOError):
                    ends[self.sent % len(ends)].sendto(packets[self.sent % len(packets)], address)
                self.sent += 1
            await asyncio.sleep(0.002)

    async def _guess(self, one: Stranger, end_at: float) -> None:
        while time.monotonic() < end_at:
            try:
                async with asyncio.timeout(max(0.1, end_at - time.monotonic())):
                    answer = await ask(one, token=WRONG)
                self.refused += isinstance(answer, Refuse)
            except Exception:
                self.failed += 1  # no answer: the server had no budget for it


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def burn(share: float, packets: float, port: int, seconds: float) -> None:
    """A process that has nothing to do with any of it, and takes that share of a core, sending included."""
    ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in SOURCES]
    for end, source in zip(ends, SOURCES, strict=True):
        end.bind((source, 0))
    began, sent, slice_ = time.monotonic(), 0, 0.01
    while (now := time.monotonic()) < began + seconds:
        used = time.process_time()
        while sent < (now - began) * packets:
            with contextlib.suppress(BlockingIOError):
                ends[sent % len(ends)].sendto(bytes(1200), ("10.200.1.1", port))
            sent += 1
        while time.process_time() - used < slice_ * share:
            pass
        time.sleep(max(0.0, slice_ - (time.monotonic() - now)))


class Bench:
    """One tunnel, measured beside whatever runs."""

    def __init__(self, net: TunnelNet, seconds: float, reverse: bool) -> None:
        self._net, self._seconds, self._reverse = net, seconds, reverse

    def mbit(self) -> float:
        server = self._net.server_ns.spawn(
            "iperf3", "-s", "-1", "-B", SERVER4, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(0.3)
            options = ["-R"] if self._reverse else []
            done = self._net.client_ns[0].run(
                "iperf3", "-c", SERVER4, "-t", f"{self._seconds:g}", "-J", *options, timeout=self._seconds + 20
            )
        finally:
            server.terminate()
            server.wait()
        return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / 1e6

    def beside_busy(self, attack: dict[str, float]) -> float:
        """The stream's speed beside a process as busy as this attack."""
        packets = attack["initials"] + PACKETS_A_HANDSHAKE * attack["refused"]
        with open_socket(self._net.server_ns, "10.200.1.1", socket.SOCK_DGRAM) as sink:
            words = ["--seconds", str(self._seconds), "--burn", str(attack["cpu"]), "--packets", str(packets)]
            port = str(sink.getsockname()[1])
            process = self._net.client_ns[1].spawn(sys.executable, "-m", "bench.abuse", *words, "--port", port)
            time.sleep(1.0)  # it begins
            speed = self.mbit()
            process.wait(60)
        return speed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.abuse", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="turns")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--engine", default="auto", help="the tunnel's QUIC engine")
    parser.add_argument("--down", action="store_true", help="from the server to the client")
    parser.add_argument("--burn", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--packets", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.burn is not None:
        burn(args.burn, args.packets, args.port, args.seconds + 2.5)
        return 0
    end_cleanly()
    with TunnelNet(clients=2) as net:
        for each in (net.server, net.client):
            each.configure({"quic": {"engine": args.engine}})
            if args.engine == "qh3":
                each.configure({"plugins": {"qh3": {}}})
        net.client_ns[1].run("ip", "route", "add", "local", "10.200.1.128/25", "dev", "lo")
        net.up(0)
        return measure(net, args)


def server_cpu(net: TunnelNet, seconds: float) -> float:
    """What strangers alone cost: the share of a core that the server's process takes under attack, with no stream."""
    began, before = time.monotonic(), _cpu_of(net.server.pid)
    asyncio.run(Attack(net, seconds).run())
    return (_cpu_of(net.server.pid) - before) / (time.monotonic() - began)


def _cpu_of(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(net: TunnelNet, args: argparse.Namespace) -> int:
    bench = Bench(net, args.seconds, args.down)
    strangers = server_cpu(net, args.seconds)
    engine = net.server.status()["engine"]
    alone, attacked, busy, attacks = [], [], [], []
    for turn in range(args.runs):
        alone.append(bench.mbit())
        speed, attack = asyncio.run(_beside_attack(bench, net, args.seconds + 1.5))
        attacked.append(speed)
        attacks.append(attack)
        busy.append(bench.beside_busy(attack))
        print(
            f"turn {turn + 1}: alone {alone[-1]:.0f}, attacked {attacked[-1]:.0f}, busy {busy[-1]:.0f} Mbit/s",
            flush=True,
        )
    ratios = [a / b for a, b in zip(attacked, busy, strict=True)]
    share = statistics.median(ratios)
    found = {key: round(statistics.median(attack[key] for attack in attacks), 1) for key in attacks[0]}
    rows = {
        "alone": f"{statistics.median(alone):7.0f} Mbit/s",
        "beside a process as busy": f"{statistics.median(busy):7.0f} Mbit/s",
        "under attack": f"{statistics.median(attacked):7.0f} Mbit/s",
        "share of the one beside it": f"{share:7.2f}, {min(ratios):.2f} to {max(ratios):.2f}; at least {LEAST_SHARE}",
        "first packets a second": f"{found['initials']:7.0f}",
        "handshakes refused a second": f"{found['refused']:7.1f}, and without an answer {found['failed']}",
        "strangers' share of a core": f"{strangers:7.2f}, at the server, with no stream",
        "the attacker's share of a core": f"{found['cpu']:7.1f}",
        "door": json.dumps(net.server.status()["server"]["door"]),
    }
    print(f"engine {engine}, {'down' if args.down else 'up'}, medians of {args.runs} turns of {args.seconds:g} s:")
    for name, text in rows.items():
        print(f"  {name:31}{text}")
    return 0 if share >= LEAST_SHARE else 1


async def _beside_attack(bench: Bench, net: TunnelNet, seconds: float) -> tuple[float, dict[str, float]]:
    attack = asyncio.ensure_future(Attack(net, seconds).run())
    await asyncio.sleep(0.5)
    speed = await asyncio.to_thread(bench.mbit)
    return speed, await attack


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
