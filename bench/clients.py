"""One server process and 1, 10 or 100 busy clients, each a `vpnrs run` of its own in a namespace of its own, with cubic
and with bbr inside.

All of them share the machine with the server, so the sum says what both ends together can do; how it is divided, and
what the server spends on a gigabyte, are the server's own. The server goes first: in life it has a machine of its own,
while here a hundred processes would leave it a hundredth of this one, and the queue in front of it would be all that is
measured."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from bench import iperf
from bench.congestion import controls
from bench.peers.vpnrs import TARGET, Vpnrs, status
from bench.process import cpu_seconds
from bench.topology import Ends, wait_for
from vpnrs_core.testkit.netns import Namespace, Topology

COUNTS = (1, 10, 100)
# The server's nice value.
_FIRST = -15
# Starting more at once only makes each of them slower.
_AT_ONCE = 10
_FIRST_PORT = 5301
# Seconds that all streams together may take to begin, and that they run before it counts.
_BEGINNING = 120
_SETTLING = 3
# What the server counts of a session, by where the stream goes.
_COUNTED = {"up": "ingress", "down": "egress"}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Busy:
    """What went between the server and each client, Mbit/s of IP packets; CPU seconds of the server meanwhile, and how
    long it was."""

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
            with _crowd(Vpnrs(engine), count) as crowd:
                for way, control in product(iperf.WAYS, controls()):
                    say(f"vpnrs, {engine}: {count} clients, {way}, {control}")
                    found = _busy(crowd, way, control, seconds)
                    section["rows"].append({"engine": engine, "way": way, "inner": control, **found.as_json()})
                    save()
        except Exception as error:  # whatever goes wrong with one number, the others are measured
            section["failures"].append(f"{engine}, {count} clients: {type(error).__name__}: {error}")
            say(f"  failed: {section['failures'][-1]}")
            good = False
    return good


@dataclass(frozen=True)
class _Crowd:
    """Everybody's namespaces, connected; the server's process, and the folder of what `vpnrs init` wrote."""

    clients: Sequence[Namespace]
    server: Namespace
    pid: int
    folder: Path


@contextmanager
def _crowd(peer: Vpnrs, count: int) -> Iterator[_Crowd]:
    with Topology() as net, ExitStack() as stack:
        server = net.namespace("server")
        clients = [net.namespace(f"c{number}") for number in range(count)]
        for number, client in enumerate(clients):
            net.connect(client, server, f"10.201.{number}.0/30")
        folder = stack.enter_context(peer.pair(Ends(clients[0], server, "0.0.0.0", "10.201.0.2")))
        process = stack.enter_context(peer.run(server, folder, "server"))
        os.setpriority(os.PRIO_PROCESS, process.pid, _FIRST)
        for number, client in enumerate(clients):
            extra = ("--set", f"server=10.201.{number}.2:{peer.port}", "--instance", f"c{number}")
            stack.enter_context(peer.run(client, folder, "client", *extra, name=f"client-{number}"))
            if number % _AT_ONCE == _AT_ONCE - 1 or number == count - 1:
                _await(clients[max(0, number - _AT_ONCE + 1) : number + 1])
        yield _Crowd(clients, server, process.pid, folder)


def _await(clients: Sequence[Namespace]) -> None:
    for client in clients:
        wait_for(
            f"the tunnel of {client.name}",
            lambda client=client: client.run("ping", "-c", "1", "-W", "1", TARGET, check=False).returncode == 0,
            60,
        )


def _busy(crowd: _Crowd, way: str, control: str, seconds: float) -> Busy:
    """All streams in one span of time: the first to begin has the machine to itself until the others have begun."""
    ports = range(_FIRST_PORT, _FIRST_PORT + len(crowd.clients))
    options = (*iperf.WAYS[way], "-C", control)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with ExitStack() as stack:
        for port in ports:
            stack.callback(_end, crowd.server.spawn("iperf3", "-s", "-1", "-p", str(port), **quiet))
        wait_for("the iperf3 servers", lambda: _sockets(crowd.server, ports, "listening") == len(ports), 60)
        for client, port in zip(crowd.clients, ports, strict=True):
            command = iperf.command(TARGET, _BEGINNING + _SETTLING + 2 * seconds, *options, port=port)
            stack.callback(_end, client.spawn(*command, **quiet))
        # Each has one connection for control and one for the stream.
        wait_for("the streams", lambda: _sockets(crowd.server, ports, "established") == 2 * len(ports), _BEGINNING)
        time.sleep(_SETTLING)
        before, used, start = _moved(crowd, way), cpu_seconds([crowd.pid]), time.monotonic()
        time.sleep(seconds)
        after, used, took = _moved(crowd, way), cpu_seconds([crowd.pid]) - used, time.monotonic() - start
        return Busy([8e-6 * (after[each] - before[each]) / took for each in before], used, took)


def _moved(crowd: _Crowd, way: str) -> Mapping[str, int]:
    """Bytes of each session so far."""
    sessions = status(crowd.folder, "server")["server"]["sessions"]
    return {session["id"]: session[_COUNTED[way]]["bytes"] for session in sessions}


def _sockets(server: Namespace, ports: range, state: str) -> int:
    found = server.run("ss", "-Htn", "state", state, f"( sport >= :{ports[0]} and sport <= :{ports[-1]} )").stdout
    return len(found.splitlines())


def _end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait(10)
