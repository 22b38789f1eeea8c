"""wireguard-go, in userspace at both ends: Debian's package, and today's as a Go module.

It is configured over its own socket (https://www.wireguard.com/xplatform/), so no other tool is needed."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench.peers import CACHE, Sessions, Tunnel
from bench.process import cpu_seconds, resident
from bench.topology import Ends, wait_for
from vpnrs_core.testkit.netns import Namespace

MODULE = "golang.zx2c4.com/wireguard"
PORT = 51820
_MTU = 1420


class Device:
    """One wireguard-go process with its interface in a namespace."""

    def __init__(self, binary: str, namespace: Namespace, address: str) -> None:
        self.name = f"wgb{secrets.token_hex(4)}"
        self._socket = Path(f"/var/run/wireguard/{self.name}.sock")
        environment = {**os.environ, "WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"}
        self.process = namespace.spawn(
            binary, "--foreground", self.name,
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(f"the control socket of {binary}", self._answers)
            namespace.run("ip", "address", "add", address, "dev", self.name)
            namespace.run("ip", "link", "set", self.name, "mtu", str(_MTU), "up")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self._socket.unlink(missing_ok=True)

    def set(self, *lines: str) -> None:
        answer = self._ask("set=1\n" + "".join(f"{line}\n" for line in lines))
        if answer.get("errno") != ["0"]:
            raise RuntimeError(f"wireguard-go refused {lines[0].partition('=')[0]}: errno {answer.get('errno')}")

    def handshakes(self) -> int:
        """Peers with which a handshake has been completed."""
        return sum(value != "0" for value in self._ask("get=1\n").get("last_handshake_time_sec", []))

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"wireguard-go ended with {self.process.returncode}")
        return self._socket.exists() and bool(self._ask("get=1\n"))

    def _ask(self, request: str) -> dict[str, list[str]]:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            try:
                link.connect(str(self._socket))
            except ConnectionRefusedError:
                return {}
            link.sendall(request.encode() + b"\n")
            text = b""
            while not text.endswith(b"\n\n") and (more := link.recv(65536)):
                text += more
        answer: dict[str, list[str]] = {}
        for line in text.decode().splitlines():
            key, _, value = line.partition("=")
            answer.setdefault(key, []).append(value)
        return answer


class Key:
    def __init__(self) -> None:
        key = X25519PrivateKey.generate()
        self.private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()).hex()
        self.public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


class WireguardGo:
    """`binary` is found or built when it is asked for first."""

    def __init__(self, name: str, binary: str | None, why_missing: str) -> None:
        self.name = name
        self.port = PORT
        self._binary, self._why_missing = binary, why_missing

    def unavailable(self) -> str | None:
        return None if self._binary else self._why_missing

    def version(self) -> str:
        assert self._binary
        go = shutil.which("go")
        if go:
            told = subprocess.run([go, "version", "-m", self._binary], capture_output=True, text=True).stdout
            for line in told.splitlines():
                if line.split()[:2] == ["mod", MODULE] and len(line.split()) > 2:
                    return line.split()[2]
        told = subprocess.run([self._binary, "--version"], capture_output=True, text=True).stdout
        return told.splitlines()[0] if told else "unknown"

    @contextmanager
    def tunnel(self, ends: Ends) -> Iterator[Tunnel]:
        with self._devices(ends) as (client, server):
            mine, theirs = Key(), Key()
            server.set(f"private_key={theirs.private}", f"listen_port={PORT}", *_peer(mine, "10.202.0.1/32"))
            client.set(f"private_key={mine.private}", *_dial(ends, theirs))
            yield Tunnel("10.202.0.2", (client.process.pid, server.process.pid))

    def sessions(self, ends: Ends, count: int, hold: float) -> Sessions:
        """One client device that takes a new key for each handshake, and a server that knows all of them. Only the
        last one's keep-alives come, so nothing is told about missed ones."""
        with self._devices(ends) as (client, server):
            theirs, keys = Key(), [Key() for _ in range(count + 1)]
            server.set(f"private_key={theirs.private}", f"listen_port={PORT}")
            self._handshake(ends, client, server, theirs, keys[0], 0)
            before, start = resident(server.process.pid), time.perf_counter()
            for number, key in enumerate(keys[1:], 1):
                self._handshake(ends, client, server, theirs, key, number)
            seconds = time.perf_counter() - start
            used = cpu_seconds([server.process.pid])
            time.sleep(hold)
            used = cpu_seconds([server.process.pid]) - used
            each = (resident(server.process.pid) - before) / count
            return Sessions(count / seconds, each, cpu_percent=100 * used / hold if hold else None)

    def _handshake(self, ends: Ends, client: Device, server: Device, theirs: Key, key: Key, number: int) -> None:
        server.set(*_peer(key, f"10.202.{1 + number // 256}.{number % 256}/32"))
        # A peer added anew has no memory of its last initiation, which would delay the next one by 5 s; the keep-alive
        # interval makes it send, and so shake hands, at once.
        client.set(
            "replace_peers=true", f"private_key={key.private}", *_dial(ends, theirs), "persistent_keepalive_interval=25"
        )
        deadline = time.perf_counter() + 10
        while not client.handshakes():
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{self.name}: handshake {number} did not end within 10 s")

    @contextmanager
    def _devices(self, ends: Ends) -> Iterator[tuple[Device, Device]]:
        assert self._binary
        with ExitStack() as stack:
            made: list[Any] = []
            for namespace, address in ((ends.client, "10.202.0.1/24"), (ends.server, "10.202.0.2/24")):
                made.append(Device(self._binary, namespace, address))
                stack.callback(made[-1].close)
            yield made[0], made[1]


def debian() -> WireguardGo:
    """Debian's package."""
    return WireguardGo("wireguard-go, Debian's", shutil.which("wireguard-go"), "the package wireguard-go is missing")


def todays() -> WireguardGo:
    """The newest module, built into .cache/bench where Go is there."""
    name = "wireguard-go, today's"
    binary = CACHE / "bin" / "wireguard"
    if not binary.exists():
        go = shutil.which("go")
        if go is None:
            return WireguardGo(name, None, "no Go on this host to build it with")
        environment = {**os.environ, "GOBIN": str(binary.parent)}
        built = subprocess.run([go, "install", f"{MODULE}@latest"], env=environment, capture_output=True, text=True)
        if built.returncode:
            return WireguardGo(name, None, f"go install failed: {built.stderr.strip().splitlines()[-1]}")
    return WireguardGo(name, str(binary), "")


def _peer(key: Key, allowed: str) -> tuple[str, ...]:
    return f"public_key={key.public}", f"allowed_ip={allowed}"


def _dial(ends: Ends, key: Key) -> tuple[str, ...]:
    return f"public_key={key.public}", f"endpoint={ends.dial}:{PORT}", "allowed_ip=10.202.0.2/32"
