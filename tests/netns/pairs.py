"""UDP sockets in two namespaces, the one connected to the other."""

import socket
from contextlib import contextmanager

from vpnrs_core.testkit.traffic import open_socket


@contextmanager
def udp_pair(sender, receiver, address, port=7000):
    with open_socket(receiver, address, socket.SOCK_DGRAM, port) as far:
        with sender.entered():
            near = socket.socket(far.family, socket.SOCK_DGRAM)
        with near:
            near.connect(far.getsockname()[:2])
            yield near, far
