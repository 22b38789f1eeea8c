"""The soak: three clients of one server under load, one of which comes and goes, and a Prometheus that watches.

client ───┐                 TCP both ways all the time; Prometheus runs here
client1 ──┼── server        starts, pings, stops, again and again; the first and every third time it is killed
client2 ──┘                 no offloads at all: each packet is one frame, each datagram one call
"""

from __future__ import annotations

import http.client
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.soak import kernel
from tests.soak.load import Load
from tests.soak.prometheus import Prometheus
from vpnrs_core.host.rundir import BASE_VARIABLE
from vpnrs_core.testkit.traffic import ping
from vpnrs_core.testkit.tunnel import SERVER4, TunnelNet

TOKEN = "soak-token-of-the-test"
METRICS_PORT = 9464
RESUME_WINDOW = 2.0
# Who was killed is missed soon, and nobody is killed so late that this would have to be waited for.
SOON = {"idle_timeout": 10.0, "keepalive": 2.0}
MISSED = 10.0 + RESUME_WINDOW
# Seconds for a start beside other tests.
PATIENCE = 60.0
# Mbit/s each way: enough to keep the loop busy, little enough for the tests that run beside it.
RATE = int(os.environ.get("VPNRS_SOAK_RATE", "15"))
PLAIN_RATE = 4


@dataclass
class Seen:
    """What was noted on the way. `memory` is bytes of the server, one a second."""

    memory: list[int] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    visits: int = 0
    failure: BaseException | None = None


class Soak:
    """`run` once; then everything still runs, but there is no load any more, and what was counted can be compared."""

    def __init__(self, net: TunnelNet) -> None:
        self.net = net
        self.seen = Seen()
        self._over = threading.Event()
        # Two threads ask instances: neither may see the variable change under it.
        os.environ[BASE_VARIABLE] = str(net.run_dir)
        self._configure()
        net.remember()
        targets = {"server": f"10.200.0.1:{METRICS_PORT}", "client": f"127.0.0.1:{METRICS_PORT}"}
        # It takes as long to start as the rest together.
        self.prometheus = Prometheus(net.client_ns[0], net.directory / "prometheus", targets, TOKEN)
        net.server.start()
        net.server.wait_state("listening", PATIENCE)
        for namespace in (net.server_ns, *net.client_ns):
            kernel.watch(namespace, server=namespace is net.server_ns)
        for client in (net.clients[0], net.clients[2]):
            client.start()
        for client in (net.clients[0], net.clients[2]):
            client.wait_state("connected", PATIENCE)
        self.prometheus.wait()

    def _configure(self) -> None:
        net = self.net
        (net.server.config.parent / "metrics.token").write_text(TOKEN)
        table = {"token": {"file": "metrics.token"}, "sessions": True}
        net.server.configure(
            {
                "session": {"resume_window": RESUME_WINDOW},
                "quic": SOON,
                "plugins": {"metrics": {**table, "listen": f"10.200.0.1:{METRICS_PORT}"}, "nat64": {}},
            }
        )
        # A token that ends one day: there is an expiry to show.
        (net.server.config.parent / "client.token").write_text(net.new_token("visitor", "--expires", "30d"))
        net.client.configure({"quic": SOON, "plugins": {"metrics": {**table, "listen": f"127.0.0.1:{METRICS_PORT}"}}})
        net.clients[1].configure({"quic": SOON})
        net.clients[2].configure({"tun": {"offload": False}, "quic": {**SOON, "udp_gso": False, "udp_gro": False}})

    def run(self, seconds: float) -> None:
        """Load for that long; it ends by itself. Raises what went wrong on the way."""
        deadline = time.monotonic() + seconds
        visitor = threading.Thread(target=self._contained, args=(lambda: self._come_and_go(deadline),))
        loads = [
            Load(self.net.client_ns[n], self.net.server_ns, SERVER4, seconds, rate)
            for n, rate in ((0, RATE), (2, PLAIN_RATE))
        ]
        visitor.start()
        try:
            while time.monotonic() < deadline and self.seen.failure is None:
                status = self.net.server.status()
                self.seen.memory.append(status["memory_bytes"])
                time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
        finally:
            self._over.set()
            visitor.join(60)
        for load in loads:
            load.wait()
        if self.seen.failure is not None:
            raise self.seen.failure

    def _contained(self, act: Any) -> None:
        try:
            act()
        except BaseException as error:
            self.seen.failure = error

    def _come_and_go(self, deadline: float) -> None:
        visitor, namespace = self.net.clients[1], self.net.client_ns[1]
        while not self._over.is_set():
            visitor.start()
            visitor.wait_state("connected", PATIENCE)
            self.seen.sessions.add(visitor.status()["client"]["session"]["id"])
            ping(namespace, SERVER4, count=3)
            self.seen.visits += 1
            if self.seen.visits % 3 == 1 and (self.seen.visits == 1 or time.monotonic() < deadline - MISSED):
                visitor.kill()
            else:
                assert visitor.stop() == 0
            self._over.wait(0.5)

    def scrape(self, port: int = METRICS_PORT) -> str:
        """The server's endpoint, asked from the client's side with the token."""
        with self.net.client_ns[0].entered():
            connection = http.client.HTTPConnection("10.200.0.1", port, timeout=20)
            connection.connect()
        try:
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return answer.read().decode()
        finally:
            connection.close()

    def settled(self, index: int | None) -> tuple[dict[str, Any], kernel.KernelCounts]:
        """Client `index`, None: the server → its status, and the kernel's counts, which were the same before and after
        it: nothing moved in between. It is asked twice: what the kernel has counted and the instance has not read yet
        at the first answer, it has read at the second, for which the loop must have turned."""
        instance = self.net.server if index is None else self.net.clients[index]
        namespace = self.net.server_ns if index is None else self.net.client_ns[index]
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            tun = instance.status()["tun"]["name"]
            before = kernel.counts(namespace, tun)
            instance.status()
            status = instance.status()
            if kernel.counts(namespace, tun) == before:
                return status, before
        raise TimeoutError("the tunnel never came to rest")

    def close(self) -> None:
        del os.environ[BASE_VARIABLE]
        self.prometheus.stop()
        for namespace in (self.net.server_ns, *self.net.client_ns):
            kernel.forget(namespace)
