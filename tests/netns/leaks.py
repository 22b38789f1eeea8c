"""Tries to get packets out of a client's host beside the tunnel, and looks whether one did."""

import contextlib
import socket
import threading
import time

from vpnrs_core.testkit.capture import Capture
from vpnrs_core.testkit.tunnel import PORT

# Somewhere on the Internet, the neighbour, a resolver elsewhere and one on the link; the marker tells a probe.
TARGETS = (
    ("192.0.2.9", 9999), ("2001:db8::9", 9999), ("10.200.0.1", 9999), ("fd00:200:0::1", 9999),
    ("192.0.2.53", 53), ("10.200.0.1", 53), ("fd00:200:0::1", 53),
)  # fmt: skip
MARKER = b"beside the tunnel"
UDP, ICMPV6 = 17, 58
NEIGHBOUR_DISCOVERY = {133, 135, 136}


class Leaks:
    """Probes by UDP and TCP all the while, in the namespace of client 0. `found` has what left by its underlay and is
    not the transport's."""

    def __init__(self, net):
        self.client = net.client_ns[0]
        self.capture = Capture(self.client, "server")
        with self.client.entered():
            families = (socket.AF_INET, socket.AF_INET6)
            self._sockets = {":" in "::" * n: socket.socket(f, socket.SOCK_DGRAM) for n, f in enumerate(families)}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = self.carried = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.halt()
        self.capture.__exit__()
        for each in self._sockets.values():
            each.close()

    def halt(self):
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self):
        while not self._ended.wait(0.02):
            self.probe()

    def probe(self, text=b""):
        for address, port in TARGETS:
            with contextlib.suppress(OSError):  # refused by the kill switch, or no route
                self._sockets[":" in address].sendto(MARKER + text, (address, port))
            self.sent += 1
        with self.client.entered(), socket.socket() as stream, contextlib.suppress(OSError):
            stream.setblocking(False)
            stream.connect(("192.0.2.9", 443))

    def found(self):
        """(destination, protocol, packet) since the last time."""
        leaked = []
        for destination, protocol, data in self.capture.packets(outgoing=True):
            header = 20 if data[0] >> 4 == 4 else 40
            if protocol == UDP and int.from_bytes(data[header + 2 : header + 4], "big") == PORT:
                self.carried += 1
            elif not (protocol == ICMPV6 and data[header] in NEIGHBOUR_DISCOVERY):
                leaked.append((str(destination), protocol, data))
        return leaked


def closed(net):
    """Whether client 0's kill switch is in force."""
    return "vpnrs_client.kill" in net.client_ns[0].run("nft", "list", "tables").stdout


def await_closed(net):
    deadline = time.monotonic() + 15
    while not closed(net):
        assert time.monotonic() < deadline, net.client.log
        time.sleep(0.02)
