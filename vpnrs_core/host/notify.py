"""Telling systemd how far we are (sd_notify): ready, stopping, and a line of status."""

from __future__ import annotations

import os
import socket

VARIABLE = "NOTIFY_SOCKET"


class Notifier:
    """Silent when nobody listens: telling must never be the reason for a failure."""

    def __init__(self, address: str | None = None) -> None:
        """`address` is a path, or a name with a leading "@" for the abstract namespace; None: what NOTIFY_SOCKET
        says."""
        text = os.environ.get(VARIABLE, "") if address is None else address
        self._address = f"\0{text[1:]}" if text.startswith("@") else text

    def ready(self, status: str = "") -> bool:
        return self.send("READY=1", *_status(status))

    def stopping(self, status: str = "") -> bool:
        return self.send("STOPPING=1", *_status(status))

    def status(self, text: str) -> bool:
        return self.send(*_status(text))

    def send(self, *assignments: str) -> bool:
        """One datagram of KEY=value lines. False: nobody was told."""
        if not self._address or not assignments:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as out:
                out.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            return False
        return True


def _status(text: str) -> tuple[str, ...]:
    # A line break would begin another assignment.
    return (f"STATUS={' '.join(text.split())}",) if text else ()
