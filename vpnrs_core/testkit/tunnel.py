"""A tunnel for tests with real traffic: namespaces for clients, a server and a host behind it, and `vpnrs run` in them.

    client 0 ──(relay or router)── server ── behind
    client 1 ──(relay or router)────┘

Client n reaches the server at 10.200.n.1 and fd00:200:n::1. Through a relay it dials the relay's address instead,
10.201.n.1, and the relay reaches the server at 10.200.n.1. A router forwards between the same networks, and the client
dials the server itself. The host behind is 10.99.0.2 and fd00:99::2.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from vpnrs_core.config.write import to_toml
from vpnrs_core.errors import HostError
from vpnrs_core.host.rundir import BASE_VARIABLE
from vpnrs_core.testkit.instance import VPNRS, RunningInstance, run_here, run_vpnrs
from vpnrs_core.testkit.netns import Namespace, Topology
from vpnrs_core.testkit.relay_process import RelayProcess
from vpnrs_core.testkit.snapshot import Snapshot

POOL4 = "10.77.0.0/24"
POOL6 = "fd77::/64"
SERVER4, SERVER6 = "10.77.0.1", "fd77::1"
BEHIND4, BEHIND6 = "10.99.0.2", "fd00:99::2"
BEHIND_NETWORKS = ("10.99.0.0/24", "fd00:99::/64")
PORT = 4433


class TunnelNet:
    """Namespaces and configurations are there after the constructor, nothing runs. Change configurations with
    `server.configure(...)` and `clients[n].configure(...)`, then `up()`; or start instances one by one.

    `router`: a host that forwards, between each client and the server (`router_ns`).
    `relay`: the relay's options (testkit.relay_process), or {} for one that does no harm, None: no relay.
    `underlay`: the IP version between clients and server. `ipv4`, `ipv6`: the pools, None: no pool of that family.
    Every client has a token of its own; its principal is its label: client, client1, client2 …"""

    def __init__(
        self,
        *,
        clients: int = 1,
        underlay: int = 4,
        ipv4: str | None = POOL4,
        ipv6: str | None = POOL6,
        behind: bool = False,
        relay: Mapping[str, float | str] | None = None,
        router: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        # Short: the path of a Unix socket has at most 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="vt"))
        self.run_dir = self.directory / "run"
        self.net = Topology()
        self.relays: list[RelayProcess] = []
        self._underlay, self._relay, self._env = underlay, relay, env
        self.router_ns: list[Namespace] = []
        self._router = router
        self._before: dict[str, Snapshot] = {}
        try:
            self.server_ns = self.net.namespace("server")
            self.client_ns = [self.net.namespace(label(n)) for n in range(clients)]
            self.behind_ns = self._connect_behind(ipv4, ipv6) if behind else None
            dialled = [self._connect(n) for n in range(clients)]
            self._write(ipv4, ipv6, dialled)
        except BaseException:
            self.close()
            raise

    def _connect(self, n: int) -> str:
        """Wire client n → what it dials."""
        near = (f"10.200.{n}.0/24", f"fd00:200:{n}::/64")
        address = f"10.200.{n}.1" if self._underlay == 4 else f"fd00:200:{n}::1"
        if self._router:
            self._route_between(n, near)
            return endpoint(address)
        if self._relay is None:
            self.net.connect(self.server_ns, self.client_ns[n], *near)
            return endpoint(address)
        relay = self.net.namespace(f"relay{n}")
        self.net.connect(self.server_ns, relay, *near)
        self.net.connect(relay, self.client_ns[n], f"10.201.{n}.0/24", f"fd00:201:{n}::/64")
        here = f"10.201.{n}.1" if self._underlay == 4 else f"fd00:201:{n}::1"
        self.relays.append(RelayProcess(relay, endpoint(here), endpoint(address), **self._relay))
        return endpoint(here)

    def _route_between(self, n: int, near: tuple[str, str]) -> None:
        """A router in between. Its interfaces are named after what they lead to: server, client."""
        router, far = self.net.namespace(f"router{n}"), (f"10.201.{n}.0/24", f"fd00:201:{n}::/64")
        self.router_ns.append(router)
        self.net.connect(self.server_ns, router, *near)
        self.net.connect(router, self.client_ns[n], *far)
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for here, there in zip(near, far, strict=True):
            gateways = (f"fd00:200:{n}::2", f"fd00:201:{n}::1") if ":" in here else (f"10.200.{n}.2", f"10.201.{n}.1")
            self.net.add_route(self.server_ns, there, gateways[0])
            self.net.add_route(self.client_ns[n], here, gateways[1])

    def _connect_behind(self, *pools: str | None) -> Namespace:
        behind = self.net.namespace("behind")
        self.net.connect(self.server_ns, behind, *BEHIND_NETWORKS)
        for pool in filter(None, pools):
            self.net.add_route(behind, pool, "fd00:99::1" if ":" in pool else "10.99.0.1")
        return behind

    def _write(self, ipv4: str | None, ipv6: str | None, dialled: list[str]) -> None:
        pair = self.directory / "pair"
        listen = endpoint("0.0.0.0" if self._underlay == 4 else "::")
        pools = ("--ipv4", ipv4 or "none", "--ipv6", ipv6 or "none")
        run_here("init", str(pair), "--listen", listen, "--server", dialled[0], *pools)
        self.server = RunningInstance(self.server_ns, pair / "server.toml", self.run_dir, self._env)
        self.clients = []
        for n, namespace in enumerate(self.client_ns):
            config = pair / f"{label(n)}.toml"
            if n:
                self._write_client(config, label(n), dialled[n])
            self.clients.append(RunningInstance(namespace, config, self.run_dir, self._env))
            # /etc is not the namespace's own: pushed servers would go into this machine's resolv.conf.
            self.clients[n].configure({"accept_dns": False})

    def _write_client(self, config: Path, name: str, server: str) -> None:
        token = config.parent / f"{name}.token"
        token.touch(0o600)
        token.write_text(self.new_token(name))
        data = tomllib.loads((config.parent / "client.toml").read_text())
        data.update(instance=name, server=server, plugins={"auth_token": {"token": {"file": f"{name}.token"}}})
        config.write_text(to_toml(data))

    @property
    def client(self) -> RunningInstance:
        return self.clients[0]

    def vpnrs(self, *arguments: str, check: bool = True) -> str:
        """Run a command of `vpnrs` on the instances of this tunnel → its standard output."""
        return run_vpnrs(*arguments, run_dir=self.run_dir, check=check).stdout

    def vpnrs_in(self, namespace: Namespace, *arguments: str, check: bool = True) -> str:
        """As `vpnrs`, in a namespace: for commands that look at the host itself."""
        env = {**os.environ, BASE_VARIABLE: str(self.run_dir)}
        return namespace.run(VPNRS, *arguments, check=check, env=env).stdout

    def new_token(self, name: str, *options: str) -> str:
        """`vpnrs token new` in the server's file."""
        tokens = self.directory / "pair" / "tokens.txt"
        return run_here("token", "new", "--name", name, "--file", str(tokens), *options)

    def up(self, *clients: int) -> Self:
        """Start the server, then the clients (all, or those numbered), and wait until they are connected."""
        self.start_server()
        chosen = [self.clients[n] for n in clients] or self.clients
        for client in chosen:
            client.start()
        for client in chosen:
            client.wait_state("connected")
        return self

    def start_server(self) -> None:
        """Start it and wait until it listens."""
        self.remember()
        self.server.start()
        self.server.wait_state("listening")

    def addresses(self, n: int = 0) -> dict[int, str]:
        """What client n has in the tunnel, by IP version."""
        listed = self.clients[n].status()["client"]["addresses"]
        return {6 if ":" in text else 4: text.partition("/")[0] for text in listed}

    def remember(self) -> None:
        """Take the state of all namespaces that `left_behind` compares with. `up` does it for the first time; do it
        again after changing a namespace by hand while nothing runs."""
        self._before = {each.name: each.snapshot() for each in self.net.namespaces}

    def stop(self) -> dict[str, int]:
        """SIGTERM to all that run, clients first → the exit codes by instance."""
        running = [each for each in (*self.clients, self.server) if each.running]
        return {each.name: each.stop() for each in running}

    def left_behind(self) -> list[str]:
        """What the instances, all ended now, left in the namespaces and the run directory."""
        found = []
        for namespace in self.net.namespaces:
            if namespace.name in self._before:
                differences = self._before[namespace.name].differences(namespace.snapshot())
                found += [f"{namespace.name}: {text}" for text in differences]
        return found + [str(path) for path in sorted(self.run_dir.rglob("*"))]

    def logs(self) -> list[tuple[str, str]]:
        """(instance, what it wrote), of those that were started."""
        instances = [getattr(self, "server", None), *getattr(self, "clients", [])]
        return [(each.name, each.log) for each in instances if each is not None and each.process is not None]

    def close(self) -> None:
        """End everything, by pid, and remove it. Raises HostError when something withstands."""
        try:
            self.net.close()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self.directory.exists():
            raise HostError(f"{self.directory} could not be removed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def label(n: int) -> str:
    return f"client{n}" if n else "client"


def endpoint(address: str, port: int = PORT) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
