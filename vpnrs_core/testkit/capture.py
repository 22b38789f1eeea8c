"""Looks at the IP packets of an interface in a namespace, and puts packets of its own on one."""

from __future__ import annotations

import socket
import time
from ipaddress import ip_address
from typing import Self

from vpnrs_core.interfaces.common import Address
from vpnrs_core.testkit.netns import Namespace

_ALL = 0x0003  # ETH_P_ALL
_OUTGOING = 4  # PACKET_OUTGOING
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}


class Capture:
    """IP packets that pass `interface` from now on, in both directions, without their link header."""

    def __init__(self, namespace: Namespace, interface: str) -> None:
        with namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
            self._socket.bind((interface, _ALL))
        self._socket.setblocking(False)
        self._interface = interface

    def packets(self, *, outgoing: bool = False) -> list[tuple[Address, int, bytes]]:
        """(destination, protocol or next header, the packet) of what has passed and was not asked for before;
        `outgoing`: only what this end sent."""
        found: list[tuple[Address, int, bytes]] = []
        while True:
            try:
                data, sender = self._socket.recvfrom(70_000)
            except BlockingIOError:
                return found
            if outgoing and sender[2] != _OUTGOING:
                continue
            version = data[0] >> 4
            if version == 4:
                found.append((ip_address(data[16:20]), data[9], data))
            elif version == 6:
                found.append((ip_address(data[24:40]), data[6], data))

    def wait_for(self, part: bytes, patience: float = 10.0) -> list[bytes]:
        """The packets up to and with one that contains `part`. Raises TimeoutError with what came instead."""
        deadline = time.monotonic() + patience
        found: list[bytes] = []
        while time.monotonic() < deadline:
            for _, _, data in self.packets():
                found.append(data)
                if part in data:
                    return found
            time.sleep(0.01)
        raise TimeoutError(f"{part!r} did not pass {self._interface} within {patience:g} s, but {found}")

    def inject(self, *packets: bytes) -> None:
        """Send IP packets out by the interface, past routing and all checks of the host."""
        for packet in packets:
            self._socket.sendto(packet, (self._interface, _ETHERTYPES[packet[0] >> 4]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
