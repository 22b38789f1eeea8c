"""Traffic between namespaces through the kernel's own TCP and UDP, its content compared; sockets are this process's."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from vpnrs_core.testkit.netns import Namespace

# Seconds without any progress.
_PATIENCE = 15.0
# UDP datagrams on their way at a time: few enough that no queue on the path drops one of a quiet host.
_WINDOW = 16
_AGAIN = 1.0


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that repeat nowhere, so that a part in the wrong place shows."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


def ping(
    of: Namespace, address: str, *, count: int = 2, size: int = 56, dont_fragment: bool = False, check: bool = True
) -> str:
    """→ ping's output; `check` raises HostError when no answer came."""
    options = ["-n", "-c", str(count), "-i", "0.05", "-W", "5", "-s", str(size)]
    if dont_fragment:
        options += ["-M", "do"]
    return of.run("ping", *options, address, check=check).stdout


def tcp_transfer(sender: Namespace, receiver: Namespace, address: str, data: bytes, back: bytes = b"") -> None:
    """The sender connects to the receiver at `address`; `data` goes over, and at the same time `back` comes the other
    way. Raises AssertionError when either arrives differently, OSError when it does not."""
    with ExitStack() as stack:
        listener = stack.enter_context(open_socket(receiver, address, socket.SOCK_STREAM))
        listener.listen(1)
        with sender.entered():
            near = stack.enter_context(socket.create_connection(listener.getsockname()[:2], _PATIENCE))
        far = stack.enter_context(listener.accept()[0])
        far.settimeout(_PATIENCE)
        received: dict[str, bytes] = {}
        together(
            lambda: _send(near, data),
            lambda: _send(far, back),
            lambda: received.__setitem__("far", _receive(far)),
            lambda: received.__setitem__("near", _receive(near)),
        )
    assert_same(received["far"], data, "to the receiver")
    assert_same(received["near"], back, "back to the sender")


def udp_exchange(client: Namespace, server: Namespace, address: str, *, datagrams: int = 1000, size: int = 1000) -> int:
    """The server answers each datagram with another of the same size, made from what it got: both directions carry
    content that is checked. What is lost is sent again after a second → how many were."""
    with ExitStack() as stack:
        far = stack.enter_context(open_socket(server, address, socket.SOCK_DGRAM))
        with client.entered():
            near = stack.enter_context(socket.socket(far.family, socket.SOCK_DGRAM))
        near.connect(far.getsockname()[:2])
        near.settimeout(_AGAIN)
        ended = threading.Event()

        def answer() -> None:
            while not ended.is_set():
                try:
                    asked, peer = far.recvfrom(65_535)
                except TimeoutError:
                    continue
                far.sendto(_answer(asked), peer)

        def ask() -> None:
            try:
                repeats.append(_ask_all(near, datagrams, size))
            finally:
                ended.set()

        repeats: list[int] = []
        far.settimeout(0.1)
        together(answer, ask)
    return repeats[0]


def open_socket(namespace: Namespace, address: str, kind: socket.SocketKind, port: int = 0) -> socket.socket:
    """A socket of the namespace, bound to the address, with a deadline on everything it does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with namespace.entered():
        opened = socket.socket(family, kind)
        try:
            opened.settimeout(_PATIENCE)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((address, port))
        except BaseException:
            opened.close()
            raise
    return opened


def together(*calls: Callable[[], Any]) -> None:
    """Run them at the same time, each in a thread, and raise the first of their failures."""
    failures: list[BaseException] = []

    def run(call: Callable[[], Any]) -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def assert_same(received: bytes, sent: bytes, where: str) -> None:
    """As `==`, with the place of the first difference instead of megabytes."""
    if received != sent:
        shared = zip(received, sent, strict=False)
        place = next((n for n, (one, other) in enumerate(shared) if one != other), min(len(received), len(sent)))
        raise AssertionError(f"{where}: {len(received)} of {len(sent)} bytes, first difference at {place}")


def _send(stream: socket.socket, data: bytes) -> None:
    stream.sendall(data)
    stream.shutdown(socket.SHUT_WR)


def _receive(stream: socket.socket) -> bytes:
    parts: list[bytes] = []
    while part := stream.recv(1 << 18):
        parts.append(part)
    return b"".join(parts)


def _ask_all(near: socket.socket, datagrams: int, size: int) -> int:
    repeats = 0
    for first in range(0, datagrams, _WINDOW):
        numbers = range(first, min(first + _WINDOW, datagrams))
        asked = [content(size, number) for number in numbers]
        missing = {_answer(datagram): datagram for datagram in asked}
        for attempt in range(5):
            repeats += len(missing) if attempt else 0
            _round(near, missing)
            if not missing:
                break
        if missing:
            raise TimeoutError(f"{len(missing)} UDP datagrams of {size} bytes found no answer in 5 attempts")
    return repeats


def _round(near: socket.socket, missing: dict[bytes, bytes]) -> None:
    for datagram in list(missing.values()):
        near.send(datagram)
    try:
        while missing:
            got = near.recv(65_535)
            missing.pop(got, None)
    except TimeoutError:
        return


def _answer(asked: bytes) -> bytes:
    return asked[::-1]
