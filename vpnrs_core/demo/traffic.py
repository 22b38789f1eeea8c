"""The demo's traffic: ping, a TCP stream, an echo. Each socket is opened inside the namespace that it belongs to."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from vpnrs_core.errors import PeerError
from vpnrs_core.host import namespace
from vpnrs_core.packet.checksum import ones_sum

# Seconds that a packet, or a stuck stream, has.
PATIENCE = 5.0
_CHUNK = 256 * 1024
_ECHO_REQUEST, _ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_PING_BYTES = 56


def ping(where: str, address: str, count: int, pause: float) -> float:
    """Send `count` echo requests, one after the other → the mean round trip in milliseconds. Raises PeerError when a
    reply does not come."""
    version = ip_address(address).version
    family, protocol = _icmp(version)
    with namespace.entered(where), socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.connect((address, 0))
        raw.settimeout(PATIENCE)
        ident = int.from_bytes(os.urandom(2), "big")
        total = 0.0
        for sequence in range(count):
            body = os.urandom(_PING_BYTES)
            started = time.perf_counter()
            raw.send(echo_request(version, ident, sequence, body))
            while not _is_reply(version, raw, ident, sequence, body):
                if time.perf_counter() - started > PATIENCE:
                    raise PeerError(f"ping {address}: no reply to request {sequence + 1} of {count}")
            total += time.perf_counter() - started
            time.sleep(pause)
    return total / count * 1000


def echo_request(version: int, ident: int, sequence: int, body: bytes) -> bytes:
    """An ICMP or ICMPv6 message (RFC 792, RFC 4443 §4.1). The kernel fills in the checksum of ICMPv6."""
    head = struct.pack("!BBHHH", _ECHO_REQUEST[version], 0, 0, ident, sequence)
    if version == 6:
        return head + body
    checksum = 0xFFFF - ones_sum(head + body)
    return head[:2] + checksum.to_bytes(2, "big") + head[4:] + body


def _is_reply(version: int, raw: socket.socket, ident: int, sequence: int, body: bytes) -> bool:
    try:
        message = raw.recv(2048)
    except TimeoutError:
        return False
    if version == 4:
        message = message[(message[0] & 15) * 4 :]
    return message[:2] == bytes((_ECHO_REPLY[version], 0)) and message[4:] == struct.pack("!HH", ident, sequence) + body


def stream(sender: socket.socket, receiver: socket.socket, seconds: float) -> float:
    """One TCP stream for that long between the two ends of a connection → Mbit/s as received. Raises PeerError when
    nothing arrives, OSError."""
    taken = _Receiver(receiver)
    with taken.running():
        block = bytes(_CHUNK)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sender.sendall(block)
        sender.shutdown(socket.SHUT_WR)
    if not taken.seconds:
        raise PeerError("TCP: nothing arrived")
    return taken.total * 8 / taken.seconds / 1e6


def echo(client: str, host: str, address: str, size: int) -> tuple[int, str]:
    """`size` random bytes to `host`, which sends back what it got → how many went both ways together, and from which
    address the host saw them come. Raises PeerError when what returns differs."""
    data = os.urandom(size)
    with connected(client, host, address) as (near, far):
        seen_from = str(far.getpeername()[0])
        taken = _Receiver(far, keep=True)
        with taken.running():
            near.sendall(data)
            near.shutdown(socket.SHUT_WR)
        back = _Receiver(near, keep=True)
        with back.running():
            far.sendall(taken.data)
            far.shutdown(socket.SHUT_WR)
        if taken.data != data or back.data != data:
            raise PeerError(f"{address}: sent {size} bytes; {taken.total} arrived, {back.total} came back")
        return taken.total + back.total, seen_from


@contextlib.contextmanager
def connected(client: str, server: str, address: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection from one namespace to `address` in the other → both of its ends."""
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    with contextlib.ExitStack() as stack:
        with namespace.entered(server):
            listener = stack.enter_context(socket.create_server((address, 0), family=family, backlog=1))
        listener.settimeout(PATIENCE)
        with namespace.entered(client):
            near = stack.enter_context(socket.create_connection(listener.getsockname()[:2], PATIENCE))
        far = stack.enter_context(listener.accept()[0])
        far.settimeout(PATIENCE)
        yield near, far


@dataclass
class _Receiver:
    """Reads `source` to its end in a thread. `seconds` are those from the first byte to the last."""

    source: socket.socket
    keep: bool = False
    total: int = 0
    seconds: float = 0.0
    data: bytearray = field(default_factory=bytearray)
    failure: OSError | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Ends when everything has been read. Raises what reading raised."""
        thread = threading.Thread(target=self._read, name="demo-receiver")
        thread.start()
        try:
            yield
        except BaseException:
            # Wakes the thread; the socket may have gone already.
            with contextlib.suppress(OSError):
                self.source.shutdown(socket.SHUT_RDWR)
            raise
        finally:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def _read(self) -> None:
        buffer = bytearray(_CHUNK)
        started = 0.0
        try:
            while count := self.source.recv_into(buffer):
                now = time.perf_counter()
                started = started or now
                self.total += count
                self.seconds = now - started
                if self.keep:
                    self.data += memoryview(buffer)[:count]
        except OSError as error:
            self.failure = error


def _icmp(version: int) -> tuple[socket.AddressFamily, int]:
    if version == 6:
        return socket.AF_INET6, socket.IPPROTO_ICMPV6
    return socket.AF_INET, socket.IPPROTO_ICMP
