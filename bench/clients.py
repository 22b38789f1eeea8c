"""One server process and 1, 10 or 100 busy clients, each a `vpnrs run` of its own in a namespace of its own, with cubic
and with bbr inside.

All of them share the machine with the server, so the sum says what both ends together can do; how it is divided, and
what the server spends on a gigabyte, are the server's own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

from bench import iperf
from bench.congestion import controls
from bench.peers.vpnrs import TARGET, Vpnrs
from bench.process import cpu_seconds
from bench.topology import Ends, wait_for
from vpnrs_core.testkit.netns import Namespace, Topology

COUNTS = (1, 10, 100)
# Starting more at once only makes each of them slower.
_AT_ONCE = 10
_FIRST_PORT = 5301

Say = Callable[[str], None]


@dataclass(frozen=True)
class Busy:
    """What the clients received or sent, Mbit/s each; CPU seconds of the server meanwhile, and how long it was."""

    each: Sequence[float]
    server_cpu: float
    seconds: float

    def as_json(self) -> dict[str, float]:
        gigabytes = sum(self.each) / 8e3 * self.seconds
        return {
            "clients": len(self.each),
            "mbit": sum(self.each),
            "jain": jain(self.each),
            "least": min(self.each),
            "most": max(self.each),
            "server_cpu_percent": 100 * self.server_cpu / self.seconds,
            "server_cpu_s_per_gb": self.server_cpu / gigabytes if gigabytes else 0.0,
        }


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all have the same, 1/n when one has everything. 0 of nothing."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


def measure(
    engine: str, counts: Sequence[int], seconds: float, section: dict[str, Any], save: Callable[[], None], say: Say
) -> bool:
    """Each number of clients, up and then down, added to the section → whether nothing failed."""
    good = True
    for count in counts:
        try:
            with _crowd(Vpnrs(engine), count) as (net, server, server_pid):
                for way, control in product(iperf.WAYS, controls()):
                    say(f"vpnrs, {engine}: {count} clients, {way}, {control}")
                    found = _busy(net, server, server_pid, (*iperf.WAYS[way], "-C", control), seconds)
                    section["rows"].append({"engine": engine, "way": way, "inner": control, **found.as_json()})
                    save()
        except Exception as error:  # whatever goes wrong with one number, the others are measured
            section["failures"].append(f"{engine}, {count} clients: {type(error).__name__}: {error}")
            say(f"  failed: {section['failures'][-1]}")
            good = False
    return good


@contextmanager
def _crowd(peer: Vpnrs, count: int) -> Iterator[tuple[list[Namespace], Namespace, int]]:
    """The clients' namespaces, connected; the server's, and its process."""
    with Topology() as net, ExitStack() as stack:
        server = net.namespace("server")
        clients = [net.namespace(f"c{number}") for number in range(count)]
        for number, client in enumerate(clients):
            net.connect(client, server, f"10.201.{number}.0/30")
        folder = stack.enter_context(peer.pair(Ends(clients[0], server, "0.0.0.0", "10.201.0.2")))
        process = stack.enter_context(peer.run(server, folder, "server"))
        for number, client in enumerate(clients):
            extra = ("--set", f"server=10.201.{number}.2:{peer.port}", "--instance", f"c{number}")
            stack.enter_context(peer.run(client, folder, "client", *extra, name=f"client-{number}"))
            if number % _AT_ONCE == _AT_ONCE - 1 or number == count - 1:
                _await(clients[max(0, number - _AT_ONCE + 1) : number + 1])
        yield clients, server, process.pid


def _await(clients: Sequence[Namespace]) -> None:
    for client in clients:
        wait_for(
            f"the tunnel of {client.name}",
            lambda client=client: client.run("ping", "-c", "1", "-W", "1", TARGET, check=False).returncode == 0,
            60,
        )


def _busy(clients: Sequence[Namespace], server: Namespace, pid: int, options: Sequence[str], seconds: float) -> Busy:
    ports = range(_FIRST_PORT, _FIRST_PORT + len(clients))
    servers = [server.spawn("iperf3", "-s", "-1", "-p", str(port), stdout=subprocess.DEVNULL) for port in ports]
    try:
        wait_for("the iperf3 servers", lambda: _listening(server, ports), 60)
        used, start = cpu_seconds([pid]), time.monotonic()
        running = [
            client.spawn(*iperf.command(TARGET, seconds, *options, port=port), stdout=subprocess.PIPE, text=True)
            for client, port in zip(clients, ports, strict=True)
        ]
        reports = [json.loads(process.communicate(timeout=seconds + 90)[0]) for process in running]
        took = time.monotonic() - start
        return Busy([iperf.tcp(report).mbit for report in reports], cpu_seconds([pid]) - used, took)
    finally:
        for process in servers:
            process.terminate()
            process.wait(10)


def _listening(server: Namespace, ports: Sequence[int]) -> bool:
    text = server.run("ss", "-Hltn").stdout
    return all(f":{port} " in text for port in ports)
