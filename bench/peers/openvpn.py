"""OpenVPN, Debian's package: TLS point to point with both certificates pinned, UDP, AES-128-GCM."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from bench.peers import Sessions, Tunnel
from bench.pings import reachable
from bench.topology import Ends, wait_for
from vpnrs_core.quic.identity import make_certificate
from vpnrs_core.testkit.netns import Namespace

PORT = 1194
_MTU = 1420
_SERVER, _CLIENT = "10.204.0.1", "10.204.0.2"


class OpenVpn:
    name = "openvpn, Debian's"
    port = PORT

    def unavailable(self) -> str | None:
        return None if shutil.which("openvpn") else "the package openvpn is missing"

    def version(self) -> str:
        told = subprocess.run(["openvpn", "--version"], capture_output=True, text=True).stdout
        return " ".join(told.split()[:2])

    @contextmanager
    def tunnel(self, ends: Ends) -> Iterator[Tunnel]:
        with tempfile.TemporaryDirectory(prefix="openvpn-bench-") as made:
            folder = Path(made)
            pins = {role: _identity(folder, role) for role in ("server", "client")}
            both = [
                "--proto", "udp", "--dev", "tun", "--dev-type", "tun", "--tun-mtu", str(_MTU), "--mssfix", "0",
                "--data-ciphers", "AES-128-GCM", "--keepalive", "10", "60", "--verb", "1", "--dh", "none",
                "--persist-tun", "--fast-io", "--sndbuf", "4194304", "--rcvbuf", "4194304",
            ]  # fmt: skip
            commands: list[tuple[Namespace, str, list[str]]] = [
                (ends.server, "server", [
                    "--tls-server", "--lport", str(PORT), "--peer-fingerprint", pins["client"],
                    "--ifconfig", _SERVER, _CLIENT, *both,
                ]),
                (ends.client, "client", [
                    "--tls-client", "--nobind", "--remote", ends.dial, str(PORT), "--peer-fingerprint", pins["server"],
                    "--ifconfig", _CLIENT, _SERVER, *(part for part in _without_dh(both)),
                ]),
            ]  # fmt: skip
            running: list[Any] = []
            try:
                for namespace, role, options in commands:
                    running.append(_start(namespace, folder, role, options))
                wait_for("openvpn's tunnel", lambda: _alive(folder, running) and reachable(ends, _SERVER), 30)
                yield Tunnel(_SERVER, (running[1].pid, running[0].pid))
            finally:
                for process in running:
                    process.terminate()
                    process.wait(15)

    def sessions(self, ends: Ends, count: int, hold: float) -> Sessions | None:
        return None


def _without_dh(options: list[str]) -> Iterator[str]:
    """A client has no such option."""
    at = options.index("--dh")
    yield from options[:at]
    yield from options[at + 2 :]


def _identity(folder: Path, role: str) -> str:
    """A self-signed certificate in the folder → its fingerprint as the other end names it."""
    pair = make_certificate(role)
    (folder / f"{role}.crt").write_bytes(pair.certificate)
    (folder / f"{role}.key").write_bytes(pair.key)
    (folder / f"{role}.key").chmod(0o600)
    return x509.load_pem_x509_certificate(pair.certificate).fingerprint(SHA256()).hex(":")


def _start(namespace: Namespace, folder: Path, role: str, options: list[str]) -> Any:
    with (folder / f"{role}.log").open("w") as log:
        return namespace.spawn(
            "openvpn", *options, "--cert", str(folder / f"{role}.crt"), "--key", str(folder / f"{role}.key"), stdout=log
        )


def _alive(folder: Path, running: list[Any]) -> bool:
    for process, role in zip(running, ("server", "client"), strict=True):
        if process.poll() is not None:
            tail = (folder / f"{role}.log").read_text().splitlines()[-4:]
            raise RuntimeError(f"openvpn ended with {process.returncode}; the {role} said: {' | '.join(tail)}")
    return True
