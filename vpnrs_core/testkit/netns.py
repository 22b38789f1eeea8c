"""Network namespaces for tests and demonstrations: made with random names, removed whatever happens.

    with Topology() as net:
        client, server = net.namespace("client"), net.namespace("server")
        net.connect(client, server, "10.200.1.0/24", "fd00:1::/64")
        server.run("ping", "-c1", str(client.addresses[0]))

Processes are started with `ip netns exec`, which gives each a /sys of the namespace; /proc/sys/net follows the
process by itself. Namespaces live in /run/netns, so a person can look into one that hangs.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import IO, Any, Self

from vpnrs_core.errors import HostError
from vpnrs_core.host import namespace as named
from vpnrs_core.interfaces.common import Address
from vpnrs_core.testkit import snapshot
from vpnrs_core.testkit.forkserver import ForkedProcess, fork_server

_CLONE_NEWNET = 0x40000000
# Seconds that a process in a namespace has between SIGTERM and SIGKILL.
_GRACE = 3.0
_READY_WAIT = 5.0
# Where `ip netns exec` looks for files of a namespace.
RESOLV_CONFS = Path("/etc/netns")


class Namespace:
    """One network namespace. `addresses` are those it was given by `Topology.connect`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.addresses: list[Address] = []
        self._children: list[subprocess.Popen[Any] | ForkedProcess] = []

    def command(self, *command: str) -> list[str]:
        """The argument list that runs `command` in here, for subprocess or asyncio."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(
        self, *command: str, check: bool = True, timeout: float = 30.0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to its end, output captured as text. Raises HostError with the output when `check` and it failed."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, timeout=timeout, env=env)
        if check and done.returncode:
            raise HostError(
                f"in {self.name}: {' '.join(command)}: exit {done.returncode}: {done.stderr or done.stdout}"
            )
        return done

    def spawn(
        self,
        *command: str,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[Any]:
        """Start and return; it is ended with the namespace at the latest. `ip netns exec` becomes the command itself,
        so the pid is the command's."""
        child: subprocess.Popen[Any] = subprocess.Popen(
            self.command(*command), stdin=stdin, stdout=stdout, stderr=stderr, text=text, env=env
        )
        self._children.append(child)
        return child

    def fork_vpnrs(self, *arguments: str, output: IO[Any], env: Mapping[str, str]) -> ForkedProcess:
        """As `spawn` with the command `vpnrs`, at a fifth of the CPU: see testkit.forkserver."""
        # It has the mounts that `ip netns exec` makes: /sys and the files in /etc that are the namespace's own.
        with subprocess.Popen(
            self.command("sh", "-c", "echo && read _"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as inside:
            assert inside.stdout is not None  # asked for with PIPE
            inside.stdout.readline()
            child = fork_server().start(arguments, inside.pid, output.fileno(), env)
            self._children.append(child)
        return child

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is inside: sockets, TUNs and /proc/sys/net that it opens belong to the namespace."""
        with named.entered(self.name):
            yield

    def pids(self) -> list[int]:
        return named.processes(self.name)

    def snapshot(self) -> snapshot.Snapshot:
        """The state of everything that must be as before in the end."""
        return snapshot.take(lambda *command: self.run(*command).stdout)

    def stop(self) -> None:
        """End what runs in here, by pid: SIGTERM, then SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            pids = self.pids()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + _GRACE
            while self._alive() and time.monotonic() < deadline:
                time.sleep(0.02)
        for child in self._children:
            child.wait(_GRACE)
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        self._children.clear()

    def _alive(self) -> bool:
        for child in self._children:
            child.poll()  # reaps: a zombie is no process of the namespace any more
        return bool(self.pids())


class Topology:
    """Namespaces and the wires between them, all removed at the end: by `with`, by `close`, or when Python exits."""

    def __init__(self) -> None:
        self._prefix = f"vt{secrets.token_hex(3)}"
        self.namespaces: list[Namespace] = []
        atexit.register(self.close)

    def namespace(self, label: str) -> Namespace:
        """A new one, with loopback up and no duplicate address detection."""
        name = f"{self._prefix}-{label}"
        named.create(name)
        made = Namespace(name)
        self.namespaces.append(made)
        _give_resolv_conf(name)
        _ip("-n", name, "link", "set", "dev", "lo", "up")
        with made.entered():
            for scope in ("all", "default"):
                path = Path(f"/proc/sys/net/ipv6/conf/{scope}/accept_dad")
                if path.exists():
                    path.write_text("0")
        return made

    def connect(self, left: Namespace, right: Namespace, *networks: str, mtu: int = 1500) -> tuple[str, str]:
        """A wire. In each network the left end gets the first address, the right end the second → the interfaces'
        names, each after the other end's label, and at most 15 characters long."""
        names = (self._interface(left, right), self._interface(right, left))
        _ip("-n", left.name, "link", "add", "name", names[0], "mtu", str(mtu),
            "type", "veth", "peer", "name", names[1], "mtu", str(mtu), "netns", right.name)  # fmt: skip
        for place, (namespace, interface) in enumerate(zip((left, right), names, strict=True), 1):
            for network in map(ip_network, networks):
                address = network.network_address + place
                self.add_address(namespace, interface, f"{address}/{network.prefixlen}")
            _ip("-n", namespace.name, "link", "set", "dev", interface, "up")
        _await_ready((left, names[0]), (right, names[1]))
        return names

    def add_address(self, namespace: Namespace, interface: str, address: str) -> None:
        """`address` with its prefix length, usable at once."""
        extra = ["nodad"] if ":" in address else []
        _ip("-n", namespace.name, "address", "add", address, "dev", interface, *extra)
        namespace.addresses.append(ip_interface(address).ip)

    def add_route(self, namespace: Namespace, network: str, via: str) -> None:
        family = "-6" if ":" in via else "-4"
        _ip("-n", namespace.name, family, "route", "add", network, "via", via)

    def close(self) -> None:
        """May be called twice. Goes on after a failure, and raises the first one at the end."""
        failure: Exception | None = None
        while self.namespaces:
            last = self.namespaces.pop()
            try:
                last.stop()
            except Exception as error:
                failure = failure or error
            try:
                named.delete(last.name)
            except Exception as error:
                failure = failure or error
            shutil.rmtree(RESOLV_CONFS / last.name, ignore_errors=True)
        atexit.unregister(self.close)
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _interface(self, of: Namespace, to: Namespace) -> str:
        taken = _ip("-n", of.name, "-br", "link", "show")
        wanted = to.name.removeprefix(f"{self._prefix}-")[:12]
        used = {line.split()[0].partition("@")[0] for line in taken.splitlines()}
        return next(name for name in (wanted, *(f"{wanted}-{n}" for n in range(2, 99))) if name not in used)


def unavailable() -> str | None:
    """Why namespaces cannot be made by this process, None: they can."""
    try:
        with Topology() as net:
            net.namespace("probe")
    except FileNotFoundError:
        return "the command 'ip' is missing: install iproute2"
    except (HostError, OSError) as error:
        return f"network namespaces need root, or user namespaces as with 'unshare -rnm': {error}"
    if not os.path.exists("/dev/net/tun"):
        return "/dev/net/tun does not exist: 'modprobe tun'"
    return None


def enter_user_namespace() -> str | None:
    """Make this process root in user, mount and network namespaces of its own, so that an ordinary user can make
    further ones. One thread only, and for good: other networks are out of reach afterwards, loopback is a new one.
    → why it was not possible, or None."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    clone_newuser, clone_newns = 0x10000000, 0x00020000
    if libc.unshare(clone_newuser | clone_newns | _CLONE_NEWNET):
        return f"user namespaces are not available: {os.strerror(ctypes.get_errno())}"
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    # `ip netns` keeps its handles in /run/netns, which belongs to the real root.
    if libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, None):
        return f"cannot mount a /run of our own: {os.strerror(ctypes.get_errno())}"
    _ip("link", "set", "dev", "lo", "up")
    return None


def _give_resolv_conf(name: str) -> None:
    """`ip netns exec` mounts it over /etc/resolv.conf: a client that is pushed DNS servers must not write the machine's
    own, which other tests and everything else on it use."""
    try:
        (RESOLV_CONFS / name).mkdir(parents=True, exist_ok=True)
        (RESOLV_CONFS / name / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    except PermissionError:
        pass  # root of a user namespace only: he cannot write the machine's file either


def _await_ready(*ends: tuple[Namespace, str]) -> None:
    # The kernel looks at carriers at most once a second, and finishes IPv6 addresses in a work queue. Until it has, it
    # drops multicast, and with it the neighbour discovery of whoever comes first.
    deadline = time.monotonic() + _READY_WAIT
    for namespace, interface in ends:
        asked: list[tuple[str, ...]] = [("-o", "link", "show", "dev", interface)]
        asked += [("route", "get", str(address)) for address in namespace.addresses]
        while missing := [question for question in asked if not _is_ready(_ip("-n", namespace.name, *question))]:
            if time.monotonic() > deadline:
                raise HostError(f"in {namespace.name} this is not ready: {missing}")
            time.sleep(0.01)
        # A link-local address shows as tentative for a moment, even without duplicate address detection.
        while _ip("-n", namespace.name, "-6", "address", "show", "dev", interface, "tentative"):
            if time.monotonic() > deadline:
                raise HostError(f"in {namespace.name} an address of {interface} stays tentative")
            time.sleep(0.01)


def _is_ready(answer: str) -> bool:
    return "state UP" in answer or answer.startswith("local")


def _ip(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30)
    if check and done.returncode:
        raise HostError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
